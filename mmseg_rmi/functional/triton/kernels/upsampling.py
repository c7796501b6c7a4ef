"""Logits at the pixels: read as they are, or upsampled bilinearly from a lower resolution.

Along each axis a pixel ``t`` lies between two low-resolution ones: ``s = (t + 1/2) scale - 1/2``,
at least 0, or ``s = t scale`` with ``align_corners``; then ``x(t) = (1 - w) low[floor s] + w
low[floor s + 1]`` with ``w = s - floor s``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def find_source(position, scale, size, ALIGN_CORNERS: tl.constexpr):
    """Return the two places that an interpolated one lies between, and the second's weight."""
    if ALIGN_CORNERS:
        at = position.to(tl.float32) * scale
    else:
        at = tl.maximum((position.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    first = tl.minimum(at.to(tl.int32), size - 1)
    return first, tl.minimum(first + 1, size - 1), at - first.to(tl.float32)


@triton.jit
def load_between(plane, row, first, second, weight, mask):
    """Load logits of one row at two columns, interpolated between them."""
    left = tl.load(plane + (row + first), mask=mask, other=0.0).to(tl.float32)
    right = tl.load(plane + (row + second), mask=mask, other=0.0).to(tl.float32)
    return (1 - weight) * left + weight * right


@triton.jit
def load_logits(
    plane,
    rows,
    columns,
    inside,
    low_height,
    low_width,
    stride_h,
    stride_w,
    scale_h,
    scale_w,
    STREAMED: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
):
    """Load a tile of one map of logits in float32, upsampled if they are of low resolution."""
    if STREAMED:
        top, bottom, fall = find_source(rows, scale_h, low_height, ALIGN_CORNERS)
        left, right, run = find_source(columns, scale_w, low_width, ALIGN_CORNERS)
        left, right = left * stride_w, right * stride_w
        upper = load_between(plane, top * stride_h, left, right, run, inside)
        lower = load_between(plane, bottom * stride_h, left, right, run, inside)
        x = (1 - fall) * upper + fall * lower
    else:
        places = rows * stride_h + columns * stride_w
        x = tl.load(plane + places, mask=inside, other=0.0).to(tl.float32)
    return x


@triton.jit
def find_support(place, stretch, ALIGN_CORNERS: tl.constexpr):
    """Return the first pixel of which a low-resolution pixel is a part."""
    if ALIGN_CORNERS:
        edge = (place - 1).to(tl.float32) * stretch
    else:
        edge = (place.to(tl.float32) - 0.5) * stretch - 0.5
    return tl.floor(edge).to(tl.int32) + 1


@triton.jit
def find_part(place, position, scale, size, ALIGN_CORNERS: tl.constexpr):
    """Return a low-resolution pixel's weight in interpolated ones."""
    first, second, weight = find_source(position, scale, size, ALIGN_CORNERS)
    return tl.where(first == place, 1.0 - weight, 0.0) + tl.where(second == place, weight, 0.0)
