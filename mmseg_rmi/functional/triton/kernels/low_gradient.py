"""The backward pass to logits of low resolution: the adjoint of the upsampling, in registers.

A low-resolution pixel sums the gradients of the pixels that it is a part of, by its weights in
them: ``dL/dlow[s] = sum_t part(s, t) dL/dx[t]``, first over rows and then over columns. Who owns a
pixel sums all of it, in one order: no atomics, and nothing of full resolution.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.gradient import load_scale, logit_gradient
from mmseg_rmi.functional.triton.kernels.pixel_term import scale_of_pixels
from mmseg_rmi.functional.triton.kernels.targets import VOID
from mmseg_rmi.functional.triton.kernels.upsampling import (
    find_part,
    find_source,
    find_support,
    load_between,
)


@triton.jit
def load_rows(
    low_row,
    first_row,
    number,
    support_rows,
    columns,
    in_width,
    image,
    targets,
    class_weight,
    log_sum_exp,
    averages,
    height,
    width,
    low_height,
    scale_h,
    cell_columns,
    map_height,
    map_width,
    pixel_scale,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
):
    """Load what the pixels around a low-resolution row share in all classes.

    Returns:
        The weights in their logits of the rows before, at and after the low-resolution one; their
        targets, scales, normalizers and averages; their cells, the places therein, and whether the
        cells are of the map.
    """
    row = (first_row + number)[:, None]
    inside = (row >= 0) & (row < height) & (number < support_rows)[:, None] & in_width[None, :]
    top, bottom, fall = find_source(row, scale_h, low_height, ALIGN_CORNERS)
    before = tl.where(top == low_row, 0.0, 1.0 - fall)
    after = tl.where(bottom == low_row, 0.0, fall)
    share = tl.where((row >= 0) & (row < height), 1.0 - before - after, 0.0)
    share = tl.where((top == low_row) | (bottom == low_row), share, 0.0)
    pixel = image.to(tl.int64) * height * width + row * width + columns
    target = tl.load(targets + pixel, mask=inside, other=VOID).to(tl.int32)
    scale = scale_of_pixels(
        target,
        target != VOID,
        class_weight,
        class_weight,
        target,
        inside,
        pixel_scale,
        CROSS_ENTROPY,
        False,
        CLASS_WEIGHT,
    )
    norm = scale
    average = scale
    if CROSS_ENTROPY or SOFTMAX:
        norm = tl.load(log_sum_exp + pixel, mask=inside, other=0.0)
    if SOFTMAX and REGION:
        average = tl.load(averages + pixel, mask=inside, other=0.0)
    cell_row, cell_column = (row + PADDING) // FACTOR, (columns + PADDING) // FACTOR
    place = (row + PADDING - cell_row * FACTOR) * FACTOR + columns + PADDING - cell_column * FACTOR
    pooled = inside & (cell_row < map_height) & (cell_column < map_width)
    cell = cell_row * cell_columns + cell_column
    return before, share, after, target, scale, norm, average, cell, place, pooled


@triton.jit
def write_low_gradient(
    incoming,
    pixel_scale,
    region_scale,
    logits,
    targets,
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
    low_height,
    low_width,
    logit_b,
    logit_c,
    logit_h,
    logit_w,
    gradient_b,
    gradient_c,
    gradient_h,
    gradient_w,
    scale_h,
    scale_w,
    stretch_h,
    stretch_w,
    map_height,
    map_width,
    cells,
    cell_columns,
    support_rows,
    owned,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
    MAX: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
    ONE_CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OWNED: tl.constexpr,
    SUPPORT: tl.constexpr,
):
    """Write the gradient of a piece of a row of low-resolution logits.

    The pixels around the row are upsampled and differentiated in registers, summed over the rows
    by the weight that the low-resolution row has in each, and then over the columns likewise. Who
    owns a low-resolution pixel sums all of it, in one order.
    """
    low_row, block, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    low = block * owned + tl.arange(0, OWNED)
    first_column = find_support(block * owned, stretch_w, ALIGN_CORNERS)
    columns = first_column + tl.arange(0, COLUMNS)
    left, right, run = find_source(columns, scale_w, low_width, ALIGN_CORNERS)
    left, right = left * logit_w, right * logit_w
    in_width = (columns >= 0) & (columns < width)

    start = find_support(low, stretch_w, ALIGN_CORNERS)
    support = start[:, None] + tl.arange(0, SUPPORT)[None, :]
    part = find_part(low[:, None], support, scale_w, low_width, ALIGN_CORNERS)
    part = tl.where((support >= 0) & (support < width), part, 0.0)
    taken = tl.minimum(tl.maximum(support - first_column, 0), COLUMNS - 1)
    taken = tl.reshape(taken, [OWNED * SUPPORT])
    is_owned = (low < low_width) & (tl.arange(0, OWNED) < owned)

    pixel_scale = load_scale(incoming, pixel_scale)
    region_scale = load_scale(incoming, region_scale)
    first_row = find_support(low_row, stretch_h, ALIGN_CORNERS)
    above = tl.maximum(low_row - 1, 0) * logit_h
    below = tl.minimum(low_row + 1, low_height - 1) * logit_h
    logits += image.to(tl.int64) * logit_b
    gradient += image.to(tl.int64) * gradient_b + low_row * gradient_h
    number = tl.arange(0, ROWS)
    if ONE_CHUNK:  # rows are read once for all classes
        before, share, after, target, scale, norm, average, cell, place, pooled = load_rows(
            low_row,
            first_row,
            number,
            support_rows,
            columns[None, :],
            in_width,
            image,
            targets,
            class_weight,
            log_sum_exp,
            averages,
            height,
            width,
            low_height,
            scale_h,
            cell_columns,
            map_height,
            map_width,
            pixel_scale,
            FACTOR,
            PADDING,
            ALIGN_CORNERS,
            CROSS_ENTROPY,
            SOFTMAX,
            CLASS_WEIGHT,
            REGION,
        )
    for c in range(classes):
        upper = load_between(logits, above, left, right, run, in_width)[None, :]
        middle = load_between(logits, low_row * logit_h, left, right, run, in_width)[None, :]
        lower = load_between(logits, below, left, right, run, in_width)[None, :]
        is_present = tl.load(present + image * (classes + 1) + c) != 0
        column_sums = tl.zeros([COLUMNS], tl.float32)
        for start_row in range(0, ROWS if ONE_CHUNK else support_rows, ROWS):
            if not ONE_CHUNK:
                before, share, after, target, scale, norm, average, cell, place, pooled = load_rows(
                    low_row,
                    first_row,
                    start_row + number,
                    support_rows,
                    columns[None, :],
                    in_width,
                    image,
                    targets,
                    class_weight,
                    log_sum_exp,
                    averages,
                    height,
                    width,
                    low_height,
                    scale_h,
                    cell_columns,
                    map_height,
                    map_width,
                    pixel_scale,
                    FACTOR,
                    PADDING,
                    ALIGN_CORNERS,
                    CROSS_ENTROPY,
                    SOFTMAX,
                    CLASS_WEIGHT,
                    REGION,
                )
            value = logit_gradient(
                before * upper + share * middle + after * lower,
                c,
                target == c,
                target != VOID,
                scale,
                norm,
                average,
                class_weight,
                is_present,
                slopes,
                winners,
                (image.to(tl.int64) * classes + c) * cells + cell,
                place,
                pooled,
                region_scale,
                MAX,
                CROSS_ENTROPY,
                SOFTMAX,
                CLASS_WEIGHT,
                REGION,
            )
            column_sums += tl.sum(share * value, axis=0)
        shares = tl.reshape(tl.gather(column_sums, taken, 0), [OWNED, SUPPORT])
        result = tl.sum(part * shares, axis=1)
        out = gradient + low * gradient_w
        tl.store(out, result.to(gradient.dtype.element_ty), mask=is_owned)
        logits += logit_c
        gradient += gradient_c
