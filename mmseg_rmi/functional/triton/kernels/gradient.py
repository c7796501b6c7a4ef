"""The backward pass: the gradient of both terms by the logits, scaled by what comes from above.

With g_c the gradient of the region term by a pixel's probability p_c (0 for the classes that the
image lacks), and a sum over the classes, the region term's share is

* ``p_c (1 - p_c) g_c`` of sigmoids;
* ``p_c (g_c - sum_k p_k g_k)`` of a softmax, the sum being found first (:func:`average_slopes`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.pixel_term import (
    pixel_gradient,
    scale_of_pixels,
    sigmoid,
)
from mmseg_rmi.functional.triton.kernels.pooling import load_slopes
from mmseg_rmi.functional.triton.kernels.targets import VOID
from mmseg_rmi.functional.triton.kernels.tiles import locate_tile, number_in_cell
from mmseg_rmi.functional.triton.kernels.upsampling import load_logits


@triton.jit
def load_scale(incoming, scale):
    """Return the factor of a sum's gradient: its own times what comes from above."""
    return (tl.load(incoming).to(tl.float64) * tl.load(scale)).to(tl.float32)


@triton.jit
def logit_gradient(
    x,
    c,
    own,
    valid,
    scale,
    norm,
    average,
    class_weight,
    is_present,
    slopes,
    winners,
    at,
    place,
    pooled,
    region_scale,
    MAX: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
):
    """Return the gradient of both terms by a tile of one class's logits."""
    gradient = pixel_gradient(x, c, own, scale, norm, class_weight, CROSS_ENTROPY, CLASS_WEIGHT)
    if REGION and SOFTMAX:
        p = tl.where(valid, tl.exp(x - norm), 0.0)
        slope = -average
        if is_present:
            slope += load_slopes(slopes, winners, at, place, pooled, MAX)
        gradient += region_scale * (p * slope)
    elif REGION:
        if is_present:
            p = sigmoid(x, tl.exp(-tl.abs(x)))
            slope = load_slopes(slopes, winners, at, place, pooled, MAX)
            change = region_scale * (p * (1.0 - p) * slope)
            gradient += tl.where(valid, change, 0.0)
    return gradient


@triton.jit
def average_slopes(
    logits,
    targets,
    present,
    slopes,
    winners,
    log_sum_exp,
    averages,
    classes,
    height,
    width,
    low_height,
    low_width,
    logit_b,
    logit_c,
    logit_h,
    logit_w,
    scale_h,
    scale_w,
    map_height,
    map_width,
    cells,
    cell_columns,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    SIDE: tl.constexpr,
    CELLS: tl.constexpr,
    MAX: tl.constexpr,
    STREAMED: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
):
    """Average the slopes of every pixel's classes by their softmax, which its adjoint subtracts."""
    image, block = tl.program_id(1), tl.program_id(0)
    cell, cell_row, cell_column, rows, columns, inside = locate_tile(
        block, height, width, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    pooled = inside & ((cell_row < map_height) & (cell_column < map_width))[None, :, None]
    place = number_in_cell(FACTOR, SIDE)
    pixel = image.to(tl.int64) * height * width + rows * width + columns
    norm = tl.load(log_sum_exp + pixel, mask=inside, other=0.0)
    average = tl.zeros([SIDE, CELLS, SIDE], tl.float32)
    plane = logits + image.to(tl.int64) * logit_b
    for c in range(classes):
        if tl.load(present + image * (classes + 1) + c) != 0:
            x = load_logits(
                plane,
                rows,
                columns,
                inside,
                low_height,
                low_width,
                logit_h,
                logit_w,
                scale_h,
                scale_w,
                STREAMED,
                ALIGN_CORNERS,
            )
            at = (image.to(tl.int64) * classes + c) * cells + cell[None, :, None]
            slope = load_slopes(slopes, winners, at, place, pooled, MAX)
            average += tl.exp(x - norm) * slope
        plane += logit_c
    tl.store(averages + pixel, average, mask=inside)


@triton.jit
def write_gradient(
    incoming,
    pixel_scale,
    region_scale,
    logits,
    targets,
    pixel_weight,
    class_weight,
    present,
    slopes,
    winners,
    log_sum_exp,
    averages,
    gradient,
    classes,
    height,
    width,
    logit_b,
    logit_c,
    logit_h,
    logit_w,
    weight_b,
    weight_h,
    weight_w,
    gradient_b,
    gradient_c,
    gradient_h,
    gradient_w,
    map_height,
    map_width,
    cells,
    cell_columns,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    SIDE: tl.constexpr,
    CELLS: tl.constexpr,
    MAX: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    PIXEL_WEIGHT: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
):
    """Read a tile of logits once more and write its gradient, scaled by what comes from above."""
    image, block = tl.program_id(1), tl.program_id(0)
    cell, cell_row, cell_column, rows, columns, inside = locate_tile(
        block, height, width, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    pooled = ((cell_row < map_height) & (cell_column < map_width))[None, :, None]
    place = number_in_cell(FACTOR, SIDE)
    pixel = image.to(tl.int64) * height * width + rows * width + columns
    target = tl.load(targets + pixel, mask=inside, other=VOID).to(tl.int32)
    valid = target != VOID
    pixel_scale = load_scale(incoming, pixel_scale)
    region_scale = load_scale(incoming, region_scale)
    scale = scale_of_pixels(
        target,
        valid,
        pixel_weight,
        class_weight,
        image.to(tl.int64) * weight_b + rows * weight_h + columns * weight_w,
        inside,
        pixel_scale,
        CROSS_ENTROPY,
        PIXEL_WEIGHT,
        CLASS_WEIGHT,
    )
    norm = scale
    average = scale
    if CROSS_ENTROPY or SOFTMAX:
        norm = tl.load(log_sum_exp + pixel, mask=inside, other=0.0)
    if SOFTMAX and REGION:
        average = tl.load(averages + pixel, mask=inside, other=0.0)
    logits += image.to(tl.int64) * logit_b
    gradient += image.to(tl.int64) * gradient_b
    for c in range(classes):
        places = rows * logit_h + columns * logit_w
        x = tl.load(logits + places, mask=inside, other=0.0)
        value = logit_gradient(
            x.to(tl.float32),
            c,
            target == c,
            valid,
            scale,
            norm,
            average,
            class_weight,
            tl.load(present + image * (classes + 1) + c) != 0,
            slopes,
            winners,
            (image.to(tl.int64) * classes + c) * cells + cell[None, :, None],
            place,
            pooled,
            region_scale,
            MAX,
            CROSS_ENTROPY,
            SOFTMAX,
            CLASS_WEIGHT,
            REGION,
        )
        out = gradient + (rows * gradient_h + columns * gradient_w)
        tl.store(out, value.to(gradient.dtype.element_ty), mask=inside)
        logits += logit_c
        gradient += gradient_c
