"""The forward pass over the logits: the pixel term's sum and the pooled maps, in one reading.

A program holds a tile of pixels and goes through the classes. It adds up their part of the pixel
term (:mod:`.pixel_term`), pools ``p = sigmoid(x)`` of the classes that the image has
(:mod:`.pooling`), and notes the greatest logit for the accuracy. Softmax maps, ``p = exp(x - log
sum_c exp(x_c))``, are known after the last class alone and take a second reading.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.pixel_term import (
    add_exp,
    add_pixel_term,
    finish_cross_entropy,
    sigmoid,
)
from mmseg_rmi.functional.triton.kernels.pooling import store_pooled
from mmseg_rmi.functional.triton.kernels.targets import NOTHING, VOID
from mmseg_rmi.functional.triton.kernels.tiles import locate_tile
from mmseg_rmi.functional.triton.kernels.upsampling import load_logits

PRODUCT_CLASSES = tl.constexpr(64)  # so many factors in [1, 2] have a product in float32


# A width known to be a multiple of 16 would shape the layout of the targets, and upsampled logits
# would be brought into it for every class.
@triton.jit(do_not_specialize=['width'])
def pool_logits(
    logits,
    targets,
    pixel_weight,
    class_weight,
    present,
    probability,
    truth,
    winners,
    touched,
    log_sum_exp,
    partials,
    classes,
    height,
    width,
    low_height,
    low_width,
    logit_b,
    logit_c,
    logit_h,
    logit_w,
    weight_b,
    weight_h,
    weight_w,
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
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    PIXEL_WEIGHT: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
    EXCLUDE: tl.constexpr,
    SCORE: tl.constexpr,
):
    """Read a tile of logits once: the pixel term's sum, and pooled maps of the present classes."""
    image, block = tl.program_id(1), tl.program_id(0)
    cell, cell_row, cell_column, rows, columns, inside = locate_tile(
        block, height, width, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    wide = image.to(tl.int64) * height * width
    target = tl.load(targets + wide + rows * width + columns, mask=inside, other=VOID)
    target = target.to(tl.int32)
    valid = target != VOID
    logits += image.to(tl.int64) * logit_b
    plane = logits
    flags = present + image * (classes + 1)
    exists = cell < cells
    is_pooled = (cell_row < map_height) & (cell_column < map_width)

    loss = tl.zeros([SIDE, CELLS, SIDE], tl.float32)
    greatest = tl.full([SIDE, CELLS, SIDE], float('-inf'), tl.float32)
    total = tl.zeros([SIDE, CELLS, SIDE], tl.float32)
    best = tl.full([SIDE, CELLS, SIDE], float('-inf'), tl.float32)
    prediction = tl.full([SIDE, CELLS, SIDE], NOTHING, tl.int32)
    for first in range(0, classes, PRODUCT_CLASSES):
        product = tl.full([SIDE, CELLS, SIDE], 1.0, tl.float32)
        for c in range(first, tl.minimum(first + PRODUCT_CLASSES, classes)):
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
            plane += logit_c
            is_present = tl.load(flags + c) != 0
            own = target == c
            decay = tl.exp(-tl.abs(x))
            loss, product = add_pixel_term(
                loss, product, x, decay, own, class_weight, c, CROSS_ENTROPY, CLASS_WEIGHT
            )
            if CROSS_ENTROPY or SOFTMAX:
                total, greatest = add_exp(total, greatest, x)
            if SCORE:
                better = x > tl.where(classes == 1, tl.zeros_like(best), best)
                prediction = tl.where(better, c, prediction)
                best = tl.maximum(best, x)
            if REGION and not SOFTMAX:
                if is_present:
                    p = tl.where(valid, sigmoid(x, decay), 0.0)
                    at = (image.to(tl.int64) * classes + c) * cells + cell
                    store_pooled(
                        p,
                        own,
                        inside,
                        probability,
                        truth,
                        winners,
                        at,
                        exists,
                        is_pooled,
                        FACTOR,
                        SIDE,
                        MAX,
                    )
        loss += tl.log(product)

    if CROSS_ENTROPY or SOFTMAX:
        norm = greatest + tl.log(total)
        tl.store(log_sum_exp + wide + rows * width + columns, norm, mask=inside)
    if CROSS_ENTROPY:
        loss = finish_cross_entropy(loss, norm, target, class_weight, CLASS_WEIGHT)
    if SOFTMAX and REGION:
        plane = logits
        for c in range(classes):
            if tl.load(flags + c) != 0:
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
                p = tl.where(valid, tl.exp(x - norm), 0.0)
                at = (image.to(tl.int64) * classes + c) * cells + cell
                own = target == c
                store_pooled(
                    p,
                    own,
                    inside,
                    probability,
                    truth,
                    winners,
                    at,
                    exists,
                    is_pooled,
                    FACTOR,
                    SIDE,
                    MAX,
                )
            plane += logit_c
    if EXCLUDE:
        void = tl.sum(tl.sum((inside & (target == VOID)).to(tl.int32), axis=0), axis=1)
        at = image.to(tl.int64) * cells + cell
        tl.store(touched + at, tl.minimum(void, 1).to(tl.uint8), mask=exists)

    weight = valid.to(tl.float32)
    if PIXEL_WEIGHT:
        places = image.to(tl.int64) * weight_b + rows * weight_h + columns * weight_w
        weight *= tl.load(pixel_weight + places, mask=inside, other=0.0).to(tl.float32)
    partials += (image * tl.num_programs(0) + block) * 2
    tl.store(partials, tl.sum(tl.reshape((loss * weight).to(tl.float64), [SIDE * CELLS * SIDE])))
    if SCORE:
        correct = ((prediction == target) & valid).to(tl.int32)
        correct = tl.sum(tl.reshape(correct, [SIDE * CELLS * SIDE]))
        tl.store(partials + 1, correct.to(tl.float64))
