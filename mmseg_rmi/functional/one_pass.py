"""The objective and its gradient in one visit of the logits.

Equal to :func:`mmseg_rmi.functional.objective.rmi_objective`, which is the one to read, at a
fraction of its cost: blocks of maps that fit a budget go once through sigmoid, both terms and their
gradient, and nothing of full resolution is kept but the gradient itself.

Shapes: ``B`` images, ``C`` classes, ``H x W`` input, ``h x w`` down-sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.gradient_with_value import value_with_gradient, working_dtype
from mmseg_rmi.functional.objective import Normalizers, batch_normalizers, default_region_dtype
from mmseg_rmi.functional.region_term import RegionTerm, TrueRegions
from mmseg_rmi.functional.settings import RMISettings

# Working memory for the maps, and for the points, of one block. A CPU's fits its cache, and is
# allocated once a batch: fresh memory costs more than most of the work done in it. A GPU wants few
# large calls.
BLOCK_BYTES = {'cpu': (5 << 20, 10 << 20), 'cuda': (256 << 20, 512 << 20)}

# Products of this many factors in [1/2, 1] are normal numbers in float32.
LARGEST_PRODUCT = 60


def one_pass_objective(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    ignore_index: int = 255,
    pixel_weight: Tensor | None = None,
    normalizers: Normalizers | None = None,
    region_dtype: torch.dtype | None = None,
) -> Tensor:
    """:func:`mmseg_rmi.functional.rmi_objective` in one visit: same arguments, same value.

    The gradient is made with the value, see
    :func:`mmseg_rmi.functional.gradient_with_value.value_with_gradient`.

    Raises:
        RuntimeError: when a second derivative is asked for.

    Example:
        >>> logits = torch.randn(2, 3, 32, 32, requires_grad=True)
        >>> labels = torch.randint(3, (2, 32, 32))
        >>> one_pass_objective(logits, labels).backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 32, 32])
    """
    build_visitor = visitor_builder(
        logits, labels, settings, ignore_index, normalizers, region_dtype
    )
    compute = partial(_visit_batch, build_visitor)
    (objective,) = value_with_gradient(compute, logits, labels, pixel_weight)
    return objective


def visitor_builder(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None,
    ignore_index: int,
    normalizers: Normalizers | None,
    region_dtype: torch.dtype | None,
    *,
    with_scores: bool = False,
) -> Callable[[], ImageVisitor]:
    """What builds the visitor of a batch, of labels' size; it holds neither logits nor labels."""
    return partial(
        ImageVisitor,
        torch.Size([logits.shape[1], *labels.shape[1:]]),
        settings or RMISettings(),
        normalizers or batch_normalizers(labels, ignore_index),
        ignore_index=ignore_index,
        dtype=working_dtype(logits),
        region_dtype=region_dtype or default_region_dtype(logits.device),
        device=logits.device,
        with_scores=with_scores,
    )


def _visit_batch(
    build_visitor: Callable[[], ImageVisitor],
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    gradient: Tensor | None,
) -> tuple[Tensor]:
    """Sum of both terms over a batch; arguments as of a visit, with a leading ``B``."""
    visitor = build_visitor()
    terms = [
        visitor.visit(
            logits[image],
            labels[image],
            None if pixel_weight is None else pixel_weight[image],
            None if gradient is None else gradient[image],
        )
        for image in range(len(logits))
    ]
    total = torch.stack([pixel + region for pixel, region, _ in terms]).sum()
    return (total.to(visitor.dtype),)


class ImageTerms(NamedTuple):
    """What :class:`ImageVisitor` finds of an image.

    Attributes:
        pixel: its share of the pixel-wise term, scalar.
        region: its share of the region term, scalar.
        scores: region scores of classes, NaN where undefined; None if not asked for.
    """

    pixel: Tensor
    region: Tensor
    scores: Tensor | None


class ImageVisitor:
    """Visits one image after the other, in reused memory.

    Args:
        shape: ``(C, H, W)`` of an image's logits.
        settings: the constants of the objective.
        normalizers: what the sums over the batch are divided by.
        ignore_index: label of pixels that do not count.
        dtype: float32 or float64, of the gradient and of all work at full resolution.
        region_dtype: float64 or float32, of all work on regions and of sums.
        device: of the logits.
        with_scores: whether to find region scores as well.
    """

    def __init__(
        self,
        shape: torch.Size,
        settings: RMISettings,
        normalizers: Normalizers,
        *,
        ignore_index: int,
        dtype: torch.dtype,
        region_dtype: torch.dtype,
        device: torch.device,
        with_scores: bool = False,
    ) -> None:
        self.channels, height, width = shape
        self.ignore_index = ignore_index
        self.dtype = dtype
        self.pixel_scale = settings.loss_lambda / normalizers.pixels.to(region_dtype)
        self.region_scale = (1 - settings.loss_lambda) / normalizers.images.to(region_dtype)
        map_bytes, point_bytes = BLOCK_BYTES.get(device.type, BLOCK_BYTES['cuda'])
        fitting = map_bytes // (2 * height * width * dtype.itemsize)
        block = max(1, min(fitting, LARGEST_PRODUCT, self.channels))
        self.blocks = [
            slice(first, min(first + block, self.channels))
            for first in range(0, self.channels, block)
        ]
        self.scratch = torch.empty(block, height, width, dtype=dtype, device=device)
        self.unit = torch.ones((), dtype=dtype, device=device)
        self.entropy = _CrossEntropy(self.scratch)
        self.region_term = None
        if settings.loss_lambda < 1:
            self.region_term = RegionTerm(
                settings,
                (height, width),
                self.channels,
                block_bytes=point_bytes,
                dtype=dtype,
                region_dtype=region_dtype,
                device=device,
                with_scores=with_scores,
            )

    def visit(
        self,
        logits: Tensor,
        labels: Tensor,
        pixel_weight: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> ImageTerms:
        """Compute an image's shares of both terms, and write their gradient.

        Args:
            logits: ``C x H x W``.
            labels: ``H x W``, integer.
            pixel_weight: ``H x W``.
            gradient: ``C x H x W``, of ``dtype``; written if given, the logits themselves perhaps.

        Returns:
            The image's shares of both terms, of ``region_dtype``.
        """
        valid = labels != self.ignore_index
        channel, one = labels.long(), valid
        if self.channels == 1:
            channel, one = torch.zeros_like(channel), valid & (labels == 1)
        channel = channel.where(one, 0)
        mask = valid.to(self.dtype)
        scale = mask * self.pixel_scale.to(self.dtype)
        if pixel_weight is not None:
            scale = scale * pixel_weight.to(self.dtype)
        of_label = logits.gather(0, channel[None])[0].to(self.dtype) * one

        term = self.region_term
        truth = None if term is None else term.read(channel, one, valid)
        for block in self.blocks:
            values = logits[block].to(self.dtype)
            out = None if gradient is None else gradient[block]
            probability = self.entropy.add(values, out)
            if term is not None and truth is not None and truth.shows(block):
                term.collect(probability.mul_(mask), block.start)
        pixel_term = ((self.entropy.take() - of_label) * scale).sum(dtype=self.region_scale.dtype)

        bounds, scores = torch.zeros_like(self.region_scale), None
        if term is not None and truth is not None:
            bounds, scores = term.solve(truth, self.region_scale)
        if gradient is not None:
            for block in self.blocks:
                self._finish_gradient(gradient[block], scale, truth, block)
            gradient.scatter_add_(0, channel[None], -(scale * one)[None])
        return ImageTerms(pixel_term, self.region_scale * bounds, scores)

    def _finish_gradient(
        self, probability: Tensor, scale: Tensor, truth: TrueRegions | None, block: slice
    ) -> None:
        """Make of p, in place, both terms' gradient by the logits, but for the part of the labels.

        That is ``p * scale + p (1 - p) * dR/dp``.
        """
        if self.region_term is None or truth is None or not truth.shows(block):
            probability.mul_(scale)
            return
        rest = torch.sub(self.unit, probability, out=self.scratch[: len(probability)])
        self.region_term.times_gradient(rest, block.start)
        probability.mul_(rest.add_(scale))


class _CrossEntropy:
    """``sum_c softplus(x_c)`` of every pixel, by way of the sigmoids that are needed anyway.

    ``softplus(x) = max(x, 0) - log max(p, 1 - p)``, and the logarithm is taken of products.

    Args:
        scratch: ``k x H x W``, memory for a block of maps.
    """

    def __init__(self, scratch: Tensor) -> None:
        self.scratch = scratch
        self.positive = torch.zeros_like(scratch[0])
        self.product = torch.ones_like(scratch[0])
        self.factors = 0

    def add(self, logits: Tensor, out: Tensor | None) -> Tensor:
        """Count a block of maps, ``k x H x W``; return their sigmoids, in ``out`` if given."""
        scratch = self.scratch[: len(logits)]
        for positive in torch.clamp(logits, min=0, out=scratch).unbind():
            self.positive += positive
        self.positive += 0 * logits.sum()  # NaN for what a sigmoid would hide, an infinite logit
        probability = torch.sigmoid(logits, out=out)
        if self.factors + len(logits) > LARGEST_PRODUCT:
            self._take_logarithm()
        for factor in torch.sub(probability, 0.5, out=scratch).abs_().add_(0.5).unbind():
            self.product *= factor
        self.factors += len(logits)
        return probability

    def take(self) -> Tensor:
        """The sum over all maps since the last time, ``H x W``."""
        self._take_logarithm()
        total = self.positive.clone()
        self.positive.zero_()
        return total

    def _take_logarithm(self) -> None:
        self.positive -= self.product.log_()
        self.product.fill_(1)
        self.factors = 0
