"""Value and gradient of the loss in one pass over the logits.

Blocks of maps that fit a budget go once through the activation, both terms and their gradient;
nothing of full resolution is kept but the gradient itself, or, where logits are up-sampled first,
that of a chunk of images.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits, ``h x w`` down-sampled;
``N`` images in a chunk, ``k`` classes in a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.closed_form import RegionSolver
from mmseg_rmi.functional.blocked.interpolation import bilinear_adjoint, bilinear_into
from mmseg_rmi.functional.blocked.pooling import Pooling
from mmseg_rmi.functional.blocked.softplus_sum import LARGEST_PRODUCT, SoftplusSum
from mmseg_rmi.functional.contract import Normalizers, Parameters, RMITerms, working_dtype
from mmseg_rmi.functional.reference import count_correct
from mmseg_rmi.functional.regions import kept_regions
from mmseg_rmi.utils.tracing import has_values, is_compiling

# Working memory for the maps, and for the points, of one block. A CPU's fits its cache, and is
# allocated once a batch: fresh memory costs more than most of the work done in it. A GPU wants few
# large calls, and takes as many images at once as fit.
BLOCK_BYTES = {'cpu': (10 << 20, 12 << 20), 'cuda': (1 << 30, 1 << 30)}


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
    others = (labels, pixel_weight, class_weight, *normalizers)
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
        if not (host_can_read(scale) and scale == 1):
            gradient.mul_(scale)
        return gradient.to(logits.dtype), None, *[None] * len(others)


def refuse_second_derivative() -> None:
    """Raise in a backward pass that is recorded, which would take the gradient for a constant.

    ``once_differentiable`` of torch does so only if what comes from above requires a gradient.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            'the gradient of the RMI loss cannot be differentiated: call backward without '
            "create_graph=True, or take impl='reference'"
        )


def _gradient_memory(logits: Tensor) -> Tensor:
    return torch.empty(logits.shape, dtype=working_dtype(logits), device=logits.device)


def forward_backward(
    parameters: Parameters,
    gradient: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixels: Tensor,
    images: Tensor,
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
        pixels: divisor of the pixel-wise term.
        images: divisor of the region term.
    """
    workspace = Workspace(logits, labels, parameters)
    loss_lambda, region_dtype = parameters.settings.loss_lambda, parameters.region_dtype
    pixel_scale = (loss_lambda / pixels.to(region_dtype)).to(workspace.dtype)
    region_scale = (1 - loss_lambda) / images.to(region_dtype)
    found = [
        _visit(
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
    scores = [each for terms in found for each in terms.scores]
    score = torch.cat(scores).nanmean().nan_to_num() if scores else torch.zeros_like(region)
    correct = torch.stack([terms.correct for terms in found]).sum()
    # A tensor of its own: compiled by torch 2.11, one that is also an intermediate has no gradient.
    total = total.to(workspace.dtype, copy=True)
    return RMITerms(total, region.to(workspace.dtype), score, correct)


class ChunkTerms(NamedTuple):
    """The shares of a chunk of images in both terms and in the correct pixels, and its scores."""

    pixel: Tensor
    region: Tensor
    scores: list[Tensor]
    correct: Tensor


def _visit(
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
    scores: list[Tensor] = []
    if parameters.with_score:  # before the gradient is written over the logits
        correct = count_correct(full, labels, parameters.ignore_index)
    chunk = _read_chunk(full, labels, pixel_weight, class_weight, pixel_scale, workspace)
    into = None if gradient is None else workspace.gradient_of(full, gradient)

    pixel, pooled = _forward(chunk, workspace, into)
    slopes = pooled
    if chunk.target is not None:
        bounds, scores, slopes = _solve_regions(chunk.target, pooled, region_scale, workspace)
        region = bounds * region_scale
    if gradient is not None and into is not None:
        _backward(chunk, slopes, workspace, into)
        if workspace.up_samples:
            size = (gradient.shape[2], gradient.shape[3])
            gradient.copy_(bilinear_adjoint(into, size, parameters.align_corners))
    return ChunkTerms(pixel, region, scores, correct)


def split_work(
    batch: int, classes: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[int, int]:
    """Return how many images make a chunk, and how many classes a block."""
    fitting = _budget(device)[0] // (2 * height * width * dtype.itemsize)  # maps
    block = max(1, min(fitting, LARGEST_PRODUCT, classes))
    images = 1 if device.type == 'cpu' else max(1, min(fitting // classes, batch))
    return images, block


def host_can_read(tensor: Tensor) -> bool:
    """Tell whether data may shape the work: where the host reads it for free."""
    return tensor.device.type == 'cpu' and not is_compiling() and has_values(tensor)


def _budget(device: torch.device) -> tuple[int, int]:
    return BLOCK_BYTES.get(device.type, BLOCK_BYTES['cuda'])


class Workspace:
    """Memory that chunks of images use one after the other, and what depends on sizes alone.

    Args:
        logits: ``B x C x H' x W'``.
        labels: ``B x H x W``.
        parameters: the constants of the call.
    """

    def __init__(self, logits: Tensor, labels: Tensor, parameters: Parameters) -> None:
        settings, device = parameters.settings, logits.device
        batch, classes, *low = logits.shape
        height, width = labels.shape[1:]
        self.parameters, self.settings = parameters, settings
        self.dtype = working_dtype(logits)
        self.pixel_activation = 'sigmoid' if settings.pixel_term == 'bce' else 'softmax'
        has_regions = settings.loss_lambda < 1
        self.activation = settings.activation if has_regions else self.pixel_activation
        self.up_samples = [height, width] != low
        images, block = split_work(batch, classes, height, width, self.dtype, device)
        self.blocks = [slice(i, min(i + block, classes)) for i in range(0, classes, block)]
        self.chunks = [slice(i, min(i + images, batch)) for i in range(0, batch, images)]

        def memory(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=self.dtype, device=device)

        self.full = memory(images, classes, height, width) if self.up_samples else None
        self.scratch = memory(images, block, height, width)
        self.unit = torch.ones((), dtype=self.dtype, device=device)
        self.softplus_sum = SoftplusSum(self.scratch)
        if not has_regions:
            return
        self.pooling = Pooling(
            settings.downsample, settings.downsample_factor, (height, width), device
        )
        self.solver = RegionSolver(
            settings,
            self.pooling.pooled_size,
            images * classes,
            _budget(device)[1],
            parameters.region_dtype,
            device,
            with_scores=parameters.with_score,
        )

    @property
    def mixes(self) -> bool:
        """Whether one term takes a sigmoid and the other a softmax.

        The probabilities of one alone can wait in the memory of the gradient.
        """
        return self.activation != self.pixel_activation

    def up_sample(self, logits: Tensor) -> Tensor:
        """Return a chunk's logits of full resolution."""
        if self.full is None:
            return logits
        full = self.full[: len(logits)]
        bilinear_into(full, logits, self.parameters.align_corners)
        return full

    def gradient_of(self, full: Tensor, gradient: Tensor) -> Tensor:
        """Return where to write the gradient by ``full``: over up-sampled logits if they allow."""
        if not self.up_samples:
            return gradient
        return torch.empty_like(full) if self.mixes else full


class RegionTarget(NamedTuple):
    """The regions of a chunk's labels.

    Attributes:
        maps: down-sampled one-hot maps, ``N x C x h x w``.
        present: the maps to solve for, of all ``N * C``, ascending; the others contribute nothing.
        kept: ``N x n``, boolean, the regions that count; None if all do.
        floor: the constant to add to the sum of the bounds, scalar.
        competes: whether every logit moves the probabilities of all classes, as of a softmax.
    """

    maps: Tensor
    present: list[int]
    kept: Tensor | None
    floor: Tensor
    competes: bool

    def has_class_in(self, block: slice) -> bool:
        """Tell whether the region term depends on any class of a block."""
        if self.competes:
            return bool(self.present)
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
        target: the regions of the labels; None if lambda is 1.
    """

    logits: Tensor
    valid: Tensor
    channel: Tensor
    weight: Tensor
    label_weight: Tensor
    class_weight: Tensor | None
    label_sum: Tensor
    log_sum: Tensor | None
    target: RegionTarget | None

    def activate(
        self, block: slice, activation: str, out: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the probabilities of a block of channels, in ``out`` if it is given."""
        values = self.logits[:, block].to(dtype)
        if activation == 'sigmoid' or self.log_sum is None:
            return torch.sigmoid(values, out=out)
        return torch.sub(values, self.log_sum, out=out).exp_()


def _read_chunk(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    workspace: Workspace,
) -> Chunk:
    settings = workspace.settings
    valid = labels != workspace.parameters.ignore_index
    channel, has_label = labels.long(), valid
    if logits.shape[1] == 1:
        channel, has_label = torch.zeros_like(channel), valid & (labels == 1)
    channel = channel.where(has_label, 0)
    target = None
    if settings.loss_lambda < 1:  # first, for what it takes meanwhile
        target = _find_target(channel, has_label, valid, logits.shape[1], workspace)

    mask = valid.to(workspace.dtype)
    weight = mask * pixel_scale
    if pixel_weight is not None:
        weight = weight * pixel_weight.to(workspace.dtype)
    label_weight = weight * has_label
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
        target,
    )


def _log_sum_exp(logits: Tensor, workspace: Workspace) -> Tensor:
    """Compute the log-sum-exp over the channels, in the memory of one block of them.

    It is NaN of all infinite logits, which a softmax may hide.
    """
    highest = logits.amax(dim=1, keepdim=True).to(workspace.dtype)
    total = torch.zeros_like(highest)
    for block in workspace.blocks:
        values = logits[:, block].to(workspace.dtype)
        scratch = workspace.scratch[: len(values), : values.shape[1]]
        total += torch.sub(values, highest, out=scratch).exp_().sum(dim=1, keepdim=True)
        total += 0 * values.sum()
    return total.log_().add_(highest)


def _find_target(
    channel: Tensor, has_label: Tensor, valid: Tensor, classes: int, workspace: Workspace
) -> RegionTarget:
    settings, solver = workspace.settings, workspace.solver
    kept = kept_regions(valid, settings)
    enough = valid.flatten(1).any(dim=1) & (solver.count >= 2)
    if kept is not None:
        enough = kept.sum(dim=1) >= 2
    floor = 0.0 if settings.nonnegative else classes * settings.floor
    maps = workspace.pooling.one_hot(channel, has_label, classes, workspace.dtype)
    present = list(range(len(maps) * classes))
    if host_can_read(channel):  # absent classes are skipped
        present = maps.flatten(2).amax(dim=2).flatten().nonzero().flatten().tolist()
    total_floor = floor * enough.sum().to(solver.dtype)
    return RegionTarget(maps, present, kept, total_floor, settings.activation == 'softmax')


class PooledMaps(NamedTuple):
    """Down-sampled probabilities of a chunk, or dR/dp, the gradient by them.

    Attributes:
        maps: ``N x C x h x w``, undefined in blocks without a class to solve for.
        max_places: of the other blocks, by their first class, where pooling found its maxima.
    """

    maps: Tensor
    max_places: dict[int, Tensor | None]

    def has(self, block: slice) -> bool:
        """Tell whether a block has a class to solve for."""
        return block.start in self.max_places

    def mul_adjoint_(self, full: Tensor, block: slice, pooling: Pooling) -> None:
        """Multiply a block of maps of full resolution by the gradient handed back to them."""
        pooling.mul_adjoint_(full, self.maps[:, block], self.max_places[block.start])


def _forward(
    chunk: Chunk, workspace: Workspace, gradient: Tensor | None
) -> tuple[Tensor, PooledMaps]:
    """Compute the pixel-wise term, and down-sample the probabilities of classes to solve for.

    The gradient, if given, holds the probabilities afterwards.
    """
    settings, target, dtype = workspace.settings, chunk.target, workspace.dtype
    pooled = PooledMaps(torch.empty_like(chunk.valid[:0] if target is None else target.maps), {})
    for block in workspace.blocks:
        out = None if gradient is None else gradient[:, block]
        probability = None
        if settings.pixel_term == 'bce':
            class_weight = None if chunk.class_weight is None else chunk.class_weight[block]
            into = None if workspace.mixes else out
            sigmoid = workspace.softplus_sum.add(
                chunk.logits[:, block].to(dtype), into, class_weight
            )
            probability = None if workspace.mixes else sigmoid
        solved = target is not None and target.has_class_in(block)
        if probability is None and (solved or (out is not None and not workspace.mixes)):
            probability = chunk.activate(block, workspace.activation, out, dtype)
        if solved and probability is not None:
            pooled.maps[:, block], pooled.max_places[block.start] = workspace.pooling.forward(
                probability.mul_(chunk.valid)
            )

    of_all = chunk.log_sum
    if of_all is None or settings.pixel_term == 'bce':
        of_all = workspace.softplus_sum.pop_sum()[: len(chunk.logits)]
    total = (of_all * chunk.weight).sum(dtype=chunk.label_sum.dtype)
    return total - chunk.label_sum, pooled


def _solve_regions(
    target: RegionTarget, pooled: PooledMaps, region_scale: Tensor, workspace: Workspace
) -> tuple[Tensor, list[Tensor], PooledMaps]:
    """Solve for the classes that are present.

    Returns:
        The sum of ``-I_l`` over images and classes; the scores of the classes present; the scaled
        gradient by the pooled maps.
    """
    solver = workspace.solver
    maps, truth = pooled.maps.flatten(0, 1), target.maps.flatten(0, 1)
    slopes = torch.zeros_like(maps)
    kept = target.kept
    if kept is not None:
        kept = kept[:, None].expand(-1, target.maps.shape[1], -1).flatten(0, 1)
    bounds, scores = target.floor, []
    for start in range(0, len(target.present), solver.block):
        places = _as_slice(target.present[start : start + solver.block])
        solution = solver(maps[places], truth[places], None if kept is None else kept[places])
        slopes[places] = (solution.gradients * region_scale).to(slopes.dtype)
        positive = solution.bounds.clamp(min=0)  # below 0 by rounding alone
        bounds = bounds + (positive if workspace.settings.nonnegative else solution.bounds).sum()
        if solution.scores is not None:
            scores.append(solution.scores)
    return bounds, scores, pooled._replace(maps=slopes.view_as(pooled.maps))


def _as_slice(places: list[int]) -> slice | list[int]:
    """Return the index of places; a slice if none is left out, for a GPU would wait for a list."""
    first, last = places[0], places[-1]
    return slice(first, last + 1) if last - first < len(places) else places


def _backward(chunk: Chunk, slopes: PooledMaps, workspace: Workspace, gradient: Tensor) -> None:
    """Write the gradient of both terms in the place of the probabilities p that lie there.

    It is ``q * weight - label_weight`` (the latter at the label), q the probability of the
    pixel-wise term, and of the region term ``p * (1 - p) * dR/dp`` for a sigmoid or
    ``p * (dR/dp - sum_k p_k dR/dp_k)`` for a softmax.
    """
    expected = None
    if chunk.target is not None and chunk.target.competes:
        expected = _expected_slope(slopes, workspace, gradient)
    for block in workspace.blocks:
        probability, weight, slope = gradient[:, block], chunk.weight, None
        if chunk.class_weight is not None:
            weight = weight * chunk.class_weight[block]
        if slopes.has(block):
            slope = _slope(probability, block, expected, slopes, workspace)
        if not workspace.mixes:
            probability.mul_(weight if slope is None else slope.add_(weight))
            continue
        pixel = chunk.activate(block, workspace.pixel_activation, None, workspace.dtype)
        if slope is None:
            torch.mul(pixel, weight, out=probability)
        else:
            probability.mul_(slope).add_(pixel.mul_(weight))
    gradient.scatter_add_(1, chunk.channel, -chunk.label_weight)


def _slope(
    probability: Tensor,
    block: slice,
    expected: Tensor | None,
    slopes: PooledMaps,
    workspace: Workspace,
) -> Tensor:
    """Compute, in scratch memory, the factor that makes of p the region term's gradient."""
    number, classes = probability.shape[:2]
    slope = workspace.scratch[:number, :classes]
    if expected is None:
        torch.sub(workspace.unit, probability, out=slope)
    else:
        slope.fill_(1)
    slopes.mul_adjoint_(slope, block, workspace.pooling)
    return slope if expected is None else slope.sub_(expected)


def _expected_slope(slopes: PooledMaps, workspace: Workspace, gradient: Tensor) -> Tensor:
    """Compute ``sum_k p_k dR/dp_k`` of every pixel, ``N x 1 x H x W``, of softmax maps p."""
    total = torch.zeros_like(gradient[:, :1])
    for block in filter(slopes.has, workspace.blocks):
        product = workspace.scratch[: len(gradient), : block.stop - block.start]
        product.copy_(gradient[:, block])
        slopes.mul_adjoint_(product, block, workspace.pooling)
        total += product.sum(dim=1, keepdim=True)
    return total
