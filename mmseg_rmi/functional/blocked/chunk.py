"""The inputs of a chunk of images, made ready for the passes over its blocks of classes.

Shapes: ``N`` images, ``C`` classes, ``H x W`` pixels, ``h x w`` downsampled, ``n`` regions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.workspace import Scale, Workspace, host_can_read
from mmseg_rmi.functional.contract import zero_if_finite
from mmseg_rmi.functional.regions import kept_regions


class RegionTarget(NamedTuple):
    """The regions of a chunk's labels at one scale.

    Attributes:
        maps: downsampled one-hot maps, ``N x C x h x w``.
        present: the maps to solve for, of all ``N * C``, ascending; the others contribute nothing.
        kept: ``N x n``, boolean, the regions that count; None if all do.
        floor: the constant to add to the sum of the bounds, scalar.
    """

    maps: Tensor
    present: list[int]
    kept: Tensor | None
    floor: Tensor

    def has_class_in(self, block: slice) -> bool:
        """Tell whether there is a map of any class of a block to solve for."""
        classes = self.maps.shape[1]
        return any(block.start <= place % classes < block.stop for place in self.present)


class Chunk(NamedTuple):
    """The inputs of a chunk of images.

    Attributes:
        logits: ``N x C x H x W``.
        valid: ``N x 1 x H x W``, of the working type, 1 or 0.
        channel: ``N x 1 x H x W``, the channel of a pixel's label; 0 where there is none.
        weight: ``N x 1 x H x W``, of the pixel in the pixel-wise term, 0 where ignored.
        label_weight: ``N x 1 x H x W``, of the label's logit, 0 where there is none.
        class_weight: ``C x 1 x 1``, of the channels in the binary cross entropy; None if 1.
        label_sum: scalar, the weighted sum of the labels' logits.
        log_sum: ``N x 1 x H x W``, log-sum-exp of the logits; None if no softmax is taken.
        targets: the regions of the labels, at every scale.
        competes: whether every logit moves the probabilities of all classes, as of a softmax.
    """

    logits: Tensor
    valid: Tensor
    channel: Tensor
    weight: Tensor
    label_weight: Tensor
    class_weight: Tensor | None
    label_sum: Tensor
    log_sum: Tensor | None
    targets: list[RegionTarget]
    competes: bool

    def weight_of(self, block: slice) -> Tensor:
        """Return the weight of every pixel and class of a block (broadcast)."""
        if self.class_weight is None:
            return self.weight
        return self.weight * self.class_weight[block]

    def solves(self, block: slice) -> bool:
        """Tell whether the region term depends on any class of a block."""
        if self.competes:
            return any(target.present for target in self.targets)
        return any(target.has_class_in(block) for target in self.targets)

    def activate(
        self, block: slice, activation: str, out: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the probabilities of a block of channels, in ``out`` if it is given."""
        values = self.logits[:, block].to(dtype)
        if activation == 'sigmoid' or self.log_sum is None:
            return torch.sigmoid(values, out=out)
        return torch.sub(values, self.log_sum, out=out).exp_()


def read_chunk(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    workspace: Workspace,
) -> Chunk:
    """Prepare a chunk of images.

    Args:
        logits: ``N x C x H x W``, of full resolution.
        labels: ``N x H x W``.
        pixel_weight: ``N x H x W``.
        class_weight: ``C``.
        pixel_scale: scalar, scales the pixel-wise term.
        workspace: of the batch.
    """
    settings = workspace.settings
    valid = labels != workspace.parameters.ignore_index
    channel, has_label = _read_labels(labels, valid, logits.shape[1])
    # First, for what they take meanwhile.
    targets = [
        _find_target(channel, has_label, valid, logits.shape[1], scale, workspace.dtype)
        for scale in workspace.scales
    ]

    mask = valid.to(workspace.dtype)
    weight = mask * pixel_scale
    if pixel_weight is not None:
        weight *= pixel_weight.to(workspace.dtype)
    label_weight = weight if has_label is valid else weight * has_label
    if class_weight is not None:
        class_weight = class_weight.to(workspace.dtype)
        label_weight = label_weight * class_weight[channel]
        class_weight = class_weight.reshape(-1, 1, 1)
    if settings.pixel_term == 'ce':
        weight, class_weight = label_weight, None
    of_label = logits.gather(1, channel[:, None])[:, 0].to(workspace.dtype)
    label_sum = of_label.mul_(label_weight).sum(dtype=workspace.parameters.region_dtype)
    takes_softmax = 'softmax' in (workspace.activation, workspace.pixel_activation)
    return Chunk(
        logits,
        mask[:, None],
        channel[:, None],
        weight[:, None],
        label_weight[:, None],
        class_weight,
        label_sum,
        _log_sum_exp(logits, workspace) if takes_softmax else None,
        targets,
        competes=workspace.activation == 'softmax',
    )


def _read_labels(labels: Tensor, valid: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return the channel of every label, 0 where it has none, and where it has one."""
    if channels == 1:
        return torch.zeros_like(labels, dtype=torch.long), valid & (labels == 1)
    return labels.long().where(valid, 0), valid


def _find_target(
    channel: Tensor,
    has_label: Tensor,
    valid: Tensor,
    classes: int,
    scale: Scale,
    dtype: torch.dtype,
) -> RegionTarget:
    settings, pooling, solver = scale
    kept = kept_regions(valid, settings)
    enough = valid.flatten(1).any(dim=1) & (solver.count >= 2)
    if kept is not None:
        enough = kept.sum(dim=1) >= 2
    floor = 0.0 if settings.nonnegative else classes * settings.floor
    maps = pooling.pooled_one_hot(channel, has_label, classes, dtype)
    present = list(range(len(maps) * classes))
    if host_can_read(channel):  # absent classes are skipped
        present = maps.flatten(2).amax(dim=2).flatten().nonzero().flatten().tolist()
    total_floor = floor * enough.sum().to(solver.dtype)
    return RegionTarget(maps, present, kept, total_floor)


def _log_sum_exp(logits: Tensor, workspace: Workspace) -> Tensor:
    """Compute the log-sum-exp over the channels, in the memory of one block of them.

    It is NaN of all infinite logits, which a softmax may hide.
    """
    highest = logits.amax(dim=1, keepdim=True).to(workspace.dtype)
    total = torch.zeros_like(highest)
    for block in workspace.blocks:
        values = logits[:, block].to(workspace.dtype)
        scratch = workspace.scratch_like(values)
        total += torch.sub(values, highest, out=scratch).exp_().sum(dim=1, keepdim=True)
        total += zero_if_finite(values)
    return total.log_().add_(highest)
