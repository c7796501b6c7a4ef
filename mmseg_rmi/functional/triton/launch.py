"""The loss of a batch as a sequence of kernels, and its gradient as one or two more.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``h x w`` cells in a map, ``m = B C`` maps,
``d = R * R``. With logits ``[16, 21, 513, 513]`` in float32 (353 MB), DF 4 and R 3:

======================  =====================================  ==================================
kernel                  reads                                  writes
======================  =====================================  ==================================
:func:`.find_targets`   labels, 34 MB                          a channel per pixel, 4 MB
:func:`.pool_logits`    logits, 353 MB; channels               pooled maps of classes present,
                                                               29 MB if all are; tile sums
:func:`.correlate`      pooled maps, from the L2 cache         2 MB of integers
:func:`.solve`          these                                  9 x 18 weights per map
:func:`.find_slopes`    pooled maps, weights                   dR/dp, 23 MB
:func:`.add_up`         tile sums, bounds                      4 numbers
:func:`.write_gradient` logits, 353 MB; channels, dR/dp        gradient, 353 MB
======================  =====================================  ==================================

So logits are read twice and the gradient is written once. Between the passes live the channels and
``dR/dp``, 8 % of the logits. Kernels of a class that an image lacks return at once, and its pooled
maps are never touched. No value travels to the host, and no sum depends on the order of threads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from mmseg_rmi.functional.contract import RMITerms
from mmseg_rmi.functional.triton import kernels
from mmseg_rmi.functional.triton.plan import BLOCK, WIDE_BLOCK, Plan

LEAST_COLUMNS = 128  # of upsampled pixels, of a piece of a row of low-resolution logits
SUPPORT_ROWS = 32  # at once


class SavedTensors(NamedTuple):
    """Tensors that the forward pass saves for the backward pass.

    Attributes:
        targets: the channel of every pixel, int8 or int16, ``B x H x W``.
        present: whether an image has a pixel of a channel, and, last, any, int32, ``B x (C + 1)``.
        slopes: dR/dp, ``B x C x cells``, undefined where a class is absent.
        winners: where in its cell the greatest p is, uint8, ``B x C x cells``; empty if not needed.
        log_sum_exp: log-sum-exp of the logits, ``B x H x W``; empty if not needed.
    """

    targets: Tensor
    present: Tensor
    slopes: Tensor
    winners: Tensor
    log_sum_exp: Tensor


def forward(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    region_scale: Tensor,
    plan: Plan,
    with_gradient: bool,
) -> tuple[RMITerms, SavedTensors]:
    """Compute the loss, and the gradient of the bounds by the pooled probabilities.

    Args:
        logits: as those that follow, see :func:`mmseg_rmi.functional.reference.rmi_terms`.
        labels: ``B x H x W``.
        pixel_weight: ``B x H x W``.
        class_weight: ``C``, float32, contiguous.
        pixel_scale: factor of the sum over pixels, float64.
        region_scale: factor of the sum over images, float64.
        plan: the sizes and the constants of the call.
        with_gradient: whether to find ``slopes``.
    """
    parameters = plan.parameters
    terms, saved = empty_results(logits, labels, plan, with_gradient)
    batch, classes = plan.logits[:2]
    maps = batch * classes
    if plan.streamed:  # its taps are read so often that a small copy pays
        logits = logits.contiguous()
    saved.present.zero_()
    pixel_blocks = triton.cdiv(plan.size[0] * plan.size[1], WIDE_BLOCK)
    kernels.find_targets[(pixel_blocks, batch)](
        labels,
        saved.targets,
        saved.present,
        *plan.size,
        classes,
        *labels.stride(),
        IGNORE_INDEX=parameters.ignore_index,
        FIRST=int(classes == 1),
        BLOCK=WIDE_BLOCK,
    )

    probability = _empty_maps(logits, plan, torch.int32)
    truth = _empty_maps(logits, plan, torch.uint8 if plan.factor < 16 else torch.int16)
    touched = logits.new_empty((batch, plan.cells if plan.exclude else 0), dtype=torch.uint8)
    partials = logits.new_empty((batch * plan.tiles, 2), dtype=torch.float64)
    kernels.pool_logits[(plan.tiles, batch)](
        logits,
        saved.targets,
        logits if pixel_weight is None else pixel_weight,
        logits if class_weight is None else class_weight,
        saved.present,
        probability,
        truth,
        saved.winners,
        touched,
        saved.log_sum_exp,
        partials,
        classes,
        *plan.size,
        *plan.logits[2:],
        *logits.stride(),
        *((0, 0, 0) if pixel_weight is None else pixel_weight.stride()),
        *plan.scales,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        **plan.tile_options,
        STREAMED=plan.streamed,
        ALIGN_CORNERS=parameters.align_corners,
        CROSS_ENTROPY=plan.cross_entropy,
        SOFTMAX=plan.softmax,
        PIXEL_WEIGHT=pixel_weight is not None,
        CLASS_WEIGHT=class_weight is not None,
        REGION=plan.region,
        EXCLUDE=plan.exclude,
        SCORE=parameters.with_score,
    )

    bounds = logits.new_empty(maps, dtype=torch.float64)
    scores = torch.empty_like(bounds)
    if plan.region:
        kept = _keep_regions(touched, plan)
        _find_bounds(probability, truth, kept, bounds, scores, saved, plan, with_gradient)
    kernels.add_up[(1,)](
        partials,
        bounds,
        scores,
        pixel_scale,
        region_scale,
        *terms,
        len(partials),
        maps,
        REGION=plan.region,
        SCORE=parameters.with_score,
        BLOCK=WIDE_BLOCK,
    )
    return terms, saved


def empty_results(
    logits: Tensor, labels: Tensor, plan: Plan, with_gradient: bool
) -> tuple[RMITerms, SavedTensors]:
    """Allocate the results of :func:`forward`, whose arguments these are."""
    batch, classes = plan.logits[:2]
    keeps_slopes = plan.region and with_gradient
    # Saved until the backward pass: no finer than the gradient that it becomes a part of.
    slope_dtype = torch.bfloat16 if logits.dtype == torch.bfloat16 else torch.float32
    total, region, score = (logits.new_empty((), dtype=torch.float32) for _ in range(3))
    terms = RMITerms(total, region, score, correct=logits.new_empty((), dtype=torch.int64))
    return terms, SavedTensors(
        targets=logits.new_empty(labels.shape, dtype=torch.int8 if classes < 128 else torch.int16),
        present=logits.new_empty((batch, classes + 1), dtype=torch.int32),
        slopes=logits.new_empty(
            (batch, classes, plan.cells if keeps_slopes else 0), dtype=slope_dtype
        ),
        winners=logits.new_empty(
            (batch, classes, plan.cells if plan.takes_maximum else 0), dtype=torch.uint8
        ),
        log_sum_exp=logits.new_empty(
            labels.shape if plan.normalizes else (0,), dtype=torch.float32
        ),
    )


def _empty_maps(logits: Tensor, plan: Plan, dtype: torch.dtype) -> Tensor:
    """Allocate pooled maps, with as much memory on both sides as neighbours of any cell reach."""
    if not plan.region:
        return logits.new_empty(0, dtype=dtype)
    cells = plan.logits[0] * plan.logits[1] * plan.cells
    return logits.new_empty(cells + 2 * plan.reach, dtype=dtype)[plan.reach :]


def _keep_regions(touched: Tensor, plan: Plan) -> Tensor:
    if not plan.exclude:
        return touched
    kept = torch.empty_like(touched)
    kernels.keep_regions[(triton.cdiv(plan.cells, WIDE_BLOCK), len(kept))](
        touched,
        kept,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        SIZE=plan.region_size,
        BLOCK=WIDE_BLOCK,
    )
    return kept


def _find_bounds(
    probability: Tensor,
    truth: Tensor,
    kept: Tensor,
    bounds: Tensor,
    scores: Tensor,
    saved: SavedTensors,
    plan: Plan,
    with_gradient: bool,
) -> None:
    """Write the bounds, the scores and the slopes of all maps."""
    settings, size = plan.parameters.settings, plan.region_size
    maps, classes, d = len(bounds), plan.logits[1], size**2
    chunks = triton.cdiv(plan.lags, plan.lag_block)
    products = bounds.new_empty((maps, plan.parts, 4, chunks * plan.lag_block), dtype=torch.int64)
    sums = bounds.new_empty((maps, plan.parts, 2), dtype=torch.int64)
    kernels.correlate[(maps, plan.parts, chunks)](
        probability,
        truth,
        kept,
        saved.present,
        products,
        sums,
        classes,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        plan.slabs,
        plan.slab_cells,
        SIZE=size,
        LAG_BLOCK=plan.lag_block,
        EXCLUDE=plan.exclude,
        BLOCK=BLOCK,
    )

    weights = bounds.new_empty((maps, d, 2 * d), dtype=torch.int32)
    lag_weights = bounds.new_empty((maps, 2, (2 * size - 1) ** 2), dtype=torch.int32)
    offsets, steps = bounds.new_empty((maps, d)), bounds.new_empty((maps, 2))
    kernels.solve[(maps,)](
        products,
        sums,
        kept.sum(dim=1) if plan.exclude else sums,
        saved.present,
        bounds,
        scores,
        weights,
        lag_weights,
        offsets,
        steps,
        classes,
        plan.parts,
        plan.slabs,
        products.shape[3],
        plan.regions,
        SIZE=size,
        TILE=triton.next_power_of_2(2 * d),
        LAG_TILE=triton.next_power_of_2((2 * size - 1) ** 2),
        FACTOR=plan.factor,
        MAX=plan.takes_maximum,
        COVARIANCE=settings.covariance,
        RIDGE=settings.ridge,
        FLOOR=settings.floor,
        NONNEGATIVE=settings.nonnegative,
        EXCLUDE=plan.exclude,
        SCORE=plan.parameters.with_score,
        GRADIENT=with_gradient,
        num_warps=4 if size < 3 else 8,
    )
    if not with_gradient:
        return

    height, width = plan.map_size
    top, bottom, sides = plan.border
    inner = (height - top - bottom) * plan.cell_columns
    border = height * width - (height - top - bottom) * (width - 2 * sides)
    inner_parts, border_parts = triton.cdiv(inner, 2 * BLOCK), triton.cdiv(border, 2 * BLOCK)
    kernels.find_slopes[(maps, inner_parts + border_parts)](
        probability,
        truth,
        kept,
        saved.present,
        weights,
        lag_weights,
        offsets,
        steps,
        saved.slopes,
        classes,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        inner_parts,
        top,
        bottom,
        sides,
        SIZE=size,
        FACTOR=plan.factor,
        MAX=plan.takes_maximum,
        EXCLUDE=plan.exclude,
        PLACES=triton.next_power_of_2(d),
        BLOCK=2 * BLOCK,
    )


def backward(
    incoming: Tensor,
    logits: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    pixel_scale: Tensor,
    region_scale: Tensor,
    saved: SavedTensors,
    plan: Plan,
) -> Tensor:
    """Write the gradient by the logits, multiplied by what comes from above.

    Args:
        incoming: scalar.
        logits: as those that follow, of the forward pass.
        pixel_weight: ``B x H x W``.
        class_weight: ``C``.
        pixel_scale: factor of the sum over pixels, float64.
        region_scale: factor of the sum over images, float64.
        saved: of the forward pass.
        plan: the sizes and the constants of the call.

    Returns:
        Of the shape, the type and, if they are dense, the strides of the logits.
    """
    gradient = torch.empty_like(logits)
    if plan.streamed:
        logits = logits.contiguous()
    averages = _average_slopes(logits, saved, plan)
    options = dict(
        FACTOR=plan.factor,
        PADDING=plan.padding,
        MAX=plan.takes_maximum,
        CROSS_ENTROPY=plan.cross_entropy,
        SOFTMAX=plan.softmax,
        CLASS_WEIGHT=class_weight is not None,
        REGION=plan.region,
    )
    class_weight = logits if class_weight is None else class_weight
    if plan.streamed:
        _launch_low_gradient(
            (
                *(incoming, pixel_scale, region_scale),
                *(logits, saved.targets, class_weight, *saved[1:], averages),
            ),
            gradient,
            plan,
            options,
        )
        return gradient
    kernels.write_gradient[(plan.tiles, len(logits))](
        incoming,
        pixel_scale,
        region_scale,
        logits,
        saved.targets,
        logits if pixel_weight is None else pixel_weight,
        class_weight,
        *saved[1:],
        averages,
        gradient,
        plan.logits[1],
        *plan.size,
        *logits.stride(),
        *((0, 0, 0) if pixel_weight is None else pixel_weight.stride()),
        *gradient.stride(),
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        **options,
        SIDE=plan.side,
        CELLS=plan.tile_cells,
        PIXEL_WEIGHT=pixel_weight is not None,
    )
    return gradient


def _average_slopes(logits: Tensor, saved: SavedTensors, plan: Plan) -> Tensor:
    """Compute ``sum_c p_c dR/dp_c`` of every pixel, which softmax maps need, ``B x H x W``."""
    if not plan.softmax:
        return saved.log_sum_exp
    averages = torch.empty_like(saved.log_sum_exp)
    kernels.average_slopes[(plan.tiles, len(logits))](
        logits,
        *saved,
        averages,
        plan.logits[1],
        *plan.size,
        *plan.logits[2:],
        *logits.stride(),
        *plan.scales,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        **plan.tile_options,
        STREAMED=plan.streamed,
        ALIGN_CORNERS=plan.parameters.align_corners,
    )
    return averages


def _launch_low_gradient(
    inputs: tuple[Tensor, ...],
    gradient: Tensor,
    plan: Plan,
    options: dict[str, int],
) -> None:
    """Launch the kernel for logits of low resolution: so many columns that few are done twice."""
    batch, classes, low_height, low_width = plan.logits
    stretch_h, stretch_w = plan.stretches
    support_rows = math.ceil(2 * stretch_h)
    rows = min(SUPPORT_ROWS, triton.next_power_of_2(support_rows))
    columns = max(LEAST_COLUMNS, triton.next_power_of_2(math.ceil(4 * stretch_w)))
    owned = max(1, math.floor(columns / stretch_w) - 1)
    kernels.write_low_gradient[(low_height, triton.cdiv(low_width, owned), batch)](
        *inputs,
        gradient,
        classes,
        *plan.size,
        low_height,
        low_width,
        *inputs[3].stride(),
        *gradient.stride(),
        *plan.scales,
        *plan.stretches,
        *plan.map_size,
        plan.cells,
        plan.cell_columns,
        support_rows,
        owned,
        **options,
        ALIGN_CORNERS=plan.parameters.align_corners,
        ONE_CHUNK=support_rows <= rows,
        num_warps=max(4, rows // 2),
        ROWS=rows,
        COLUMNS=columns,
        OWNED=triton.next_power_of_2(owned),
        SUPPORT=triton.next_power_of_2(math.ceil(2 * stretch_w)),
    )
