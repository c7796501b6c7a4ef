"""Value and gradient of the loss in one pass over the logits.

Blocks of maps that fit a budget go once through the activation, both terms and their gradient;
nothing of full resolution is kept but the gradient itself, or, where logits are upsampled first,
that of a chunk of images.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits, ``h x w`` downsampled;
``N`` images in a chunk, ``k`` classes in a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.chunk import Chunk, RegionTarget, read_chunk
from mmseg_rmi.functional.blocked.interpolation import bilinear_adjoint
from mmseg_rmi.functional.blocked.pooling import Pooling
from mmseg_rmi.functional.blocked.workspace import Scale, Workspace, host_can_read
from mmseg_rmi.functional.contract import (
    Normalizers,
    Parameters,
    RMITerms,
    refuse_second_derivative,
    term_scales,
    working_dtype,
)
from mmseg_rmi.functional.maps import count_correct
from mmseg_rmi.utils.tracing import is_batched


def rmi_terms(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    normalizers: Normalizers,
    parameters: Parameters,
) -> RMITerms:
    """Compute the loss; the gradient is made with the value.

    Arguments and result are those of :func:`mmseg_rmi.functional.reference.rmi_terms`.

    Raises:
        RuntimeError: when a second derivative is asked for.
    """
    scales = term_scales(normalizers, parameters.settings, parameters.region_dtype)
    others = (labels, pixel_weight, class_weight, *scales)
    if torch.is_grad_enabled() and logits.requires_grad:
        return RMITerms(*_RMIFunction.apply(logits, parameters, *others))
    return forward_backward(parameters, None, logits, *others)


class _RMIFunction(torch.autograd.Function):
    """Makes the gradient with the value, for the first backward pass; another makes it anew.

    It is kept in float32 or better until it is scaled by what comes from above.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, parameters: Parameters, *others: Any
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, *others)
        ctx.parameters = parameters
        ctx.gradient = _gradient_memory(logits)
        terms = forward_backward(parameters, ctx.gradient, logits, *others)
        ctx.mark_non_differentiable(*terms[1:])
        return tuple(terms)

    @staticmethod
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        logits, *others = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            gradient = _gradient_memory(logits)
            forward_backward(ctx.parameters, gradient, logits, *others)
        if is_batched(scale):
            gradient = gradient * scale
        elif not (host_can_read(scale) and scale == 1):
            gradient.mul_(scale)
        return gradient.to(logits.dtype), None, *[None] * len(others)


def _gradient_memory(logits: Tensor) -> Tensor:
    return torch.empty(logits.shape, dtype=working_dtype(logits), device=logits.device)


def forward_backward(
    parameters: Parameters,
    gradient: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    region_scale: Tensor,
) -> RMITerms:
    """Compute the loss of a batch, chunk by chunk of images, and write its gradient.

    Args:
        parameters: the constants of the call.
        gradient: ``B x C x H' x W'``, of the working type; written if given.
        logits: ``B x C x H' x W'``, as those that follow: see
            :func:`mmseg_rmi.functional.reference.rmi_terms`.
        labels: ``B x H x W``.
        pixel_weight: ``B x H x W``.
        class_weight: ``C``.
        pixel_scale: factor of the sum over pixels.
        region_scale: factor of the sum over images.
    """
    workspace = Workspace(logits, labels, parameters)
    pixel_scale = pixel_scale.to(workspace.dtype)
    found = [
        _chunk_terms(
            logits[part],
            labels[part],
            None if pixel_weight is None else pixel_weight[part],
            class_weight,
            pixel_scale,
            region_scale,
            workspace,
            None if gradient is None else gradient[part],
        )
        for part in workspace.chunks
    ]
    region = torch.stack([terms.region for terms in found]).sum()
    total = torch.stack([terms.pixel for terms in found]).sum() + region
    score = torch.zeros_like(region)
    if parameters.with_score and workspace.scales:
        scores = zip(*[terms.scores for terms in found], strict=True)  # of one scale each
        score = torch.stack([torch.cat(each).nanmean().nan_to_num() for each in scores]).mean()
    correct = torch.stack([terms.correct for terms in found]).sum()
    # A tensor of its own: compiled by torch 2.11, one that is also an intermediate has no gradient.
    total = total.to(workspace.dtype, copy=True)
    return RMITerms(total, region.to(workspace.dtype), score, correct)


class ChunkTerms(NamedTuple):
    """The shares of a chunk of images in both terms and in the correct pixels, and its scores.

    Attributes:
        scores: at every scale, of the classes that are present.
    """

    pixel: Tensor
    region: Tensor
    scores: list[Tensor]
    correct: Tensor


def _chunk_terms(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    region_scale: Tensor,
    workspace: Workspace,
    gradient: Tensor | None,
) -> ChunkTerms:
    """Compute the terms of a chunk of images, and write its gradient if it is given."""
    parameters = workspace.parameters
    full = workspace.up_sample(logits)
    region = torch.zeros_like(region_scale)
    correct = torch.zeros_like(region_scale)
    if parameters.with_score:  # before the gradient is written over the logits
        correct = count_correct(full, labels, parameters.ignore_index)
    chunk = read_chunk(full, labels, pixel_weight, class_weight, pixel_scale, workspace)
    into = None if gradient is None else workspace.gradient_of(full, gradient)

    pixel, pooled = _forward(chunk, workspace, into)
    scores: list[Tensor] = []
    slopes: list[Slopes] = []
    for scale, target, maps in zip(workspace.scales, chunk.targets, pooled, strict=True):
        scale_of_bounds = region_scale / len(pooled)
        bounds, found, by_maps = _solve_regions(scale, target, maps.maps, scale_of_bounds)
        region = region + bounds * scale_of_bounds
        scores.append(found)
        slopes.append(Slopes(scale.pooling, by_maps, maps.max_places))
    if gradient is not None and into is not None:
        _backward(chunk, slopes, workspace, into)
        if workspace.up_samples:
            size = (gradient.shape[2], gradient.shape[3])
            gradient.copy_(bilinear_adjoint(into, size, parameters.align_corners))
    return ChunkTerms(pixel, region, scores, correct)


class PooledMaps(NamedTuple):
    """Downsampled probabilities of a chunk at one scale.

    Attributes:
        maps: ``N x C x h x w``, undefined in blocks without a class to solve for.
        max_places: of the other blocks, by their first class, where pooling found its maxima.
    """

    maps: Tensor
    max_places: dict[int, Tensor | None]


class Slopes(NamedTuple):
    """``dR/dp``, the scaled gradient of the region term by downsampled probabilities.

    Attributes:
        pooling: that made the maps.
        by_maps: ``N x C x h x w``.
        max_places: as of :class:`PooledMaps`.
    """

    pooling: Pooling
    by_maps: Tensor
    max_places: dict[int, Tensor | None]

    def by_pixels(self, block: slice, out: Tensor) -> Tensor:
        """Return the gradient of a block by its pixels' probabilities, in ``out``."""
        places = self.max_places[block.start]
        return self.pooling.adjoint(self.by_maps[:, block], places, out)


def _forward(
    chunk: Chunk, workspace: Workspace, gradient: Tensor | None
) -> tuple[Tensor, list[PooledMaps]]:
    """Compute the pixel-wise term, and downsample the probabilities of classes to solve for.

    The gradient, if given, holds the probabilities of these classes afterwards, and is complete in
    blocks without such a class but for the labels' logits.
    """
    takes_sigmoid, dtype = workspace.settings.pixel_term == 'bce', workspace.dtype
    pooled = [PooledMaps(torch.empty_like(target.maps), {}) for target in chunk.targets]
    for block in workspace.blocks:
        out, solves = None if gradient is None else gradient[:, block], chunk.solves(block)
        probability = None
        if takes_sigmoid:
            class_weight = None if chunk.class_weight is None else chunk.class_weight[block]
            logits = chunk.logits[:, block].to(dtype)
            probability = workspace.softplus_sum.add(logits, out, class_weight)
        if probability is None or (solves and workspace.mixes):
            activation = workspace.activation if solves else workspace.pixel_activation
            probability = chunk.activate(block, activation, out, dtype)
        if solves:
            probability.mul_(chunk.valid)
            for scale, (maps, max_places) in zip(workspace.scales, pooled, strict=True):
                maps[:, block], max_places[block.start] = scale.pooling.forward(probability)
        elif out is not None:
            out.mul_(chunk.weight_of(block))

    if chunk.log_sum is None or takes_sigmoid:
        weighted = workspace.softplus_sum.pop_sum()[: len(chunk.logits)].mul_(chunk.weight)
    else:
        weighted = chunk.log_sum * chunk.weight
    # Each rounded as in the sum of labels, so that the difference of perfect maps is exactly 0.
    return weighted.sum(dtype=chunk.label_sum.dtype) - chunk.label_sum, pooled


def _solve_regions(
    scale: Scale, target: RegionTarget, pooled: Tensor, scale_of_bounds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve for the classes that are present.

    Returns:
        The sum of ``-I_l`` over images and classes; the scores of the classes present; the
        gradient of the sum by the pooled maps, times ``scale_of_bounds``.
    """
    settings, _, solver = scale
    maps, truth = pooled.flatten(0, 1), target.maps.flatten(0, 1)
    slopes = torch.zeros_like(maps)
    if not target.present:
        return target.floor, target.floor.new_empty(0), slopes.view_as(pooled)
    kept = target.kept
    if kept is not None:
        kept = kept[:, None].expand(-1, target.maps.shape[1], -1).flatten(0, 1)
    places = _as_slice(target.present)
    solution = solver(maps[places], truth[places], None if kept is None else kept[places])
    slopes[places] = (solution.gradients * scale_of_bounds).to(slopes.dtype)
    bounds, scores = solution.bounds, solution.scores
    if settings.nonnegative:
        bounds = bounds.clamp(min=0)  # below 0 by rounding alone
    if scores is None:
        scores = bounds.new_empty(0)
    return target.floor + bounds.sum(), scores, slopes.view_as(pooled)


def _as_slice(places: list[int]) -> slice | list[int]:
    """Return the index of places; a slice if none is left out, for a GPU would wait for a list."""
    first, last = places[0], places[-1]
    return slice(first, last + 1) if last - first < len(places) else places


def _backward(chunk: Chunk, slopes: list[Slopes], workspace: Workspace, gradient: Tensor) -> None:
    """Write the gradient of both terms in the place of the probabilities p that lie there.

    It is ``q * weight - label_weight`` (the latter at the label), q the probability of the
    pixel-wise term, and of the region term ``p * (1 - p) * dR/dp`` for a sigmoid or
    ``p * (dR/dp - sum_k p_k dR/dp_k)`` for a softmax.
    """
    blocks = list(filter(chunk.solves, workspace.blocks))
    expected = None
    if chunk.competes and blocks:  # sum_k p_k dR/dp_k of every pixel
        expected = torch.zeros_like(gradient[:, :1])
        for block in blocks:
            slope = _slope_of_pixels(slopes, block, gradient[:, block], workspace)
            expected += slope.mul_(gradient[:, block]).sum(dim=1, keepdim=True)
    for block in blocks:
        probability = gradient[:, block]
        slope = _slope_of_pixels(slopes, block, probability, workspace)
        if expected is None:
            region = torch.ops.aten.sigmoid_backward.grad_input(
                slope, probability, grad_input=slope
            )
        else:
            region = slope.sub_(expected).mul_(probability)
        pixel = probability
        if workspace.mixes:
            pixel = chunk.activate(block, workspace.pixel_activation, None, workspace.dtype)
        torch.addcmul(region, pixel, chunk.weight_of(block), out=probability)
    gradient.scatter_add_(1, chunk.channel, -chunk.label_weight)


def _slope_of_pixels(
    slopes: list[Slopes], block: slice, like: Tensor, workspace: Workspace
) -> Tensor:
    """Compute ``dR/dp`` of a block's pixels, the sum over scales, in memory of the workspace."""
    first, *others = slopes
    total = first.by_pixels(block, workspace.scratch_like(like))
    for each in others:
        total += each.by_pixels(block, workspace.addend_like(like))
    return total
