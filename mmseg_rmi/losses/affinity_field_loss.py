"""The affinity field loss as a loss of MMSegmentation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_rmi.functional.affinity_field import (
    affinity_field_loss,
    count_elements,
    downsample_labels,
)
from mmseg_rmi.functional.contract import promote
from mmseg_rmi.losses.base import SegmentationLoss
from mmseg_rmi.losses.finiteness import propagate_nonfinite
from mmseg_rmi.losses.normalization import global_divisors
from mmseg_rmi.utils.checks import check_integer, check_number
from mmseg_rmi.utils.tracing import full_precision, is_compiling

LABEL_VALUES = 256  # of an 8-bit label map, each with its own row of weights


class AffinityFieldLoss(SegmentationLoss):
    """Softmax cross entropy plus a decaying affinity field loss, the paper's second baseline.

    ``CE + decay_base ** -(iteration / max_iters) * affinity``: the cross entropy is the mean over
    valid pixels at full resolution, the affinity field loss is
    :func:`mmseg_rmi.functional.affinity_field_loss`. The iteration is that of MMEngine's training
    loop; outside of one the factor is 1.

    Args:
        sizes: distances to a pixel's eight neighbours on the downsampled map; 1 is a 3 x 3 window.
            Several sizes are averaged.
        adaptive: learn the weights of that average, for each label of the centre pixel and
            separately for edges and non-edges. As in the original, these parameters start out
            equal and ascend the loss.
        margin: KL divergence, in nats, beyond which the two pixels of an edge differ enough.
        downsample_factor: DF; 1 leaves the maps as they are.
        decay_base: at least 1; 20 in the RMI authors' code, 10 in the original, 1 for no decay.
        ignore_index: label to ignore, unless a call gives another; None ignores nothing.
        loss_weight: factor of the whole loss.
        loss_name: name in the log; must contain ``'loss'``.
        **other_arguments: arguments of another loss, inherited by a config; raise a TypeError.

    Source: Ke et al., "Adaptive Affinity Fields for Semantic Segmentation", ECCV 2018; "Affinity"
    in tables 1 and 4 of the RMI paper.

    Example:
        >>> labels = torch.zeros(1, 32, 32, dtype=torch.long)
        >>> AffinityFieldLoss()(torch.zeros(1, 2, 32, 32), labels)  # equal neighbours; log 2
        tensor(0.6931)
    """

    use_sigmoid = False  # tells test-time fusion how logits become probabilities

    def __init__(
        self,
        sizes: Sequence[int] = (1,),
        adaptive: bool = False,
        margin: float = 3.0,
        downsample_factor: int = 8,
        decay_base: float = 20.0,
        ignore_index: int | None = 255,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_affinity',
        **other_arguments: Any,
    ) -> None:
        super().__init__(ignore_index, loss_weight, loss_name, other_arguments)
        _check_sizes(sizes, adaptive)
        check_number('margin', margin)
        if not margin > 0:
            raise ValueError(f'margin must be greater than 0, got {margin}')
        check_integer('downsample_factor', downsample_factor, 1)
        check_number('decay_base', decay_base)
        if decay_base < 1:
            raise ValueError(f'decay_base must be at least 1 (no decay), got {decay_base}')
        self.sizes = tuple(sizes)
        self.margin = margin
        self.downsample_factor = downsample_factor
        self.decay_base = decay_base
        self.size_scores = None
        if adaptive:
            self.size_scores = nn.Parameter(torch.zeros(2, LABEL_VALUES, len(self.sizes)))

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | EllipsisType | None = ...,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: ``B x C x H x W``, float16, bfloat16, float32 or float64; C is at least 2.
            labels: ``B x H x W`` or ``B x 1 x H x W``, integer, in ``[0, C)`` or ``ignore_index``.
            weight: ``B x H x W``, scales the cross entropy.
            ignore_index: label to ignore; None ignores nothing; the constructor's by default.
            avg_factor: None; the loss is normalised by its own pixels.
            reduction_override: None or ``'mean'``.

        Returns:
            Scalar in nats, float32 (float64 for float64 logits); not finite if a logit is not, or
            if a sum of them overflows, as that of cross entropy.

        Raises:
            ValueError: shapes, devices, labels or reduction that do not fit, one channel, maps too
                small.
            TypeError: logits that are not floating point, labels that are not integer.
        """
        labels, ignore_index = self.check_call(
            logits, labels, weight, ignore_index, avg_factor, reduction_override
        )
        self._check_channels(logits)
        self._check_neighbours_fit(logits)
        labels = labels.long()
        pixels, pairs = self._divisors(logits, labels, ignore_index)
        with full_precision(logits.device.type):
            logits = promote(logits)
            affinity = affinity_field_loss(
                logits,
                labels,
                self.sizes,
                self.margin,
                self.downsample_factor,
                ignore_index=ignore_index,
                size_weights=self.size_weights,
                counts=pairs,
            )
            loss = _cross_entropy_sum(logits, labels, weight, ignore_index) / pixels
            loss = loss + self.decay_base ** -_progress(affinity.detach()) * affinity
            # Both terms skip ignored pixels, but a NaN among their logits must not go unnoticed.
            # Not by zero_if_finite, as torch differentiates aminmax in recent versions alone.
            loss = loss + (0 * logits).sum()
        return propagate_nonfinite(self.loss_weight * loss)

    @property
    def size_weights(self) -> Tensor | None:
        """Weights of the sizes for edges and non-edges, by label: ``2 x 256 x K``; None if equal.

        Their gradient is negated, so that an optimizer that descends the loss makes them ascend it.
        """
        if self.size_scores is None:
            return None
        return (2 * self.size_scores.detach() - self.size_scores).softmax(dim=2)

    def _divisors(self, logits: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Count the valid pixels, and the edges and non-edges, of the global batch."""
        pixels = (labels != ignore_index).sum().reshape(1)
        small = downsample_labels(labels, self.downsample_factor)
        elements = count_elements(small, logits.shape[1], self.sizes, ignore_index)
        counts = torch.cat([pixels, elements.flatten()])
        divisors = global_divisors(counts, trains=logits.requires_grad)
        return divisors[0], divisors[1:].view_as(elements)

    def _check_channels(self, logits: Tensor) -> None:
        channels = logits.shape[1]
        if channels == 1:
            raise ValueError(
                'AffinityFieldLoss takes the softmax over at least 2 channels, got logits '
                f'{tuple(logits.shape)}: let the head predict both classes (num_classes=2, without '
                'out_channels=1)'
            )
        if self.size_scores is not None and channels > LABEL_VALUES:
            raise ValueError(
                f'adaptive=True has weights for {LABEL_VALUES} classes, got {channels} channels of '
                'logits: use adaptive=False'
            )

    def _check_neighbours_fit(self, logits: Tensor) -> None:
        least = (max(self.sizes) + 1) * self.downsample_factor
        if min(logits.shape[-2:]) < least:
            raise ValueError(
                f'neighbours at a distance of {max(self.sizes)} do not fit into logits of '
                f'{logits.shape[-2]} x {logits.shape[-1]} at downsample_factor='
                f'{self.downsample_factor}: use crops of at least {least} x {least}, or smaller '
                'sizes or a smaller downsample_factor'
            )


def training_progress() -> float:
    """Return the share of MMEngine's current training that is done, in [0, 1); 0 without one."""
    if sys.modules.get('mmengine') is None:
        return 0.0
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    if hub.get_info('loop_stage') != 'train':
        return 0.0
    return hub.get_info('iter') / hub.get_info('max_iters')


def _progress(like: Tensor) -> Tensor | float:
    """Return the progress; in a graph through an operator, as a constant would stop the decay."""
    return torch.ops.mmseg_rmi.training_progress(like) if is_compiling() else training_progress()


if hasattr(torch.library, 'custom_op'):  # from torch 2.4 on; before, it breaks the graph

    @torch.library.custom_op(
        'mmseg_rmi::training_progress', mutates_args=(), schema='(Tensor like) -> Tensor'
    )
    def _progress_operator(like: Tensor) -> Tensor:
        return like.new_tensor(training_progress())

    _progress_operator.register_fake(lambda like: like.new_empty(()))


def _cross_entropy_sum(
    logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int
) -> Tensor:
    if weight is None:
        return F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction='sum')
    each = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction='none')
    return (weight.to(each.dtype) * each).sum()


def _check_sizes(sizes: Sequence[int], adaptive: bool) -> None:
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise TypeError(f'sizes must be a list of distances such as (1, 2, 3), got {sizes!r}')
    for size in sizes:
        check_integer('sizes', size, 1)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f'sizes must differ from each other, got {sizes}')
    if not isinstance(adaptive, bool):
        raise TypeError(f'adaptive must be True or False, got {adaptive!r}')
    if adaptive and len(sizes) == 1:
        raise ValueError(
            f'adaptive=True weighs several sizes, got sizes={sizes}: use sizes=(1, 2, 3), as the '
            'original does, or adaptive=False'
        )
