"""The channel of every pixel, and which channels an image has.

``target = label - first`` where that is a channel, ``first`` being 1 for a binary map, whose only
channel is class 1, and 0 otherwise; else :data:`NOTHING`, or :data:`VOID` for ignored pixels.
"""

from __future__ import annotations

import triton
import triton.language as tl

VOID = tl.constexpr(-2)  # target of an ignored pixel
NOTHING = tl.constexpr(-1)  # target of a pixel that counts and is of no channel


@triton.jit
def find_targets(
    labels,
    targets,
    present,
    height,
    width,
    classes,
    label_b,
    label_h,
    label_w,
    IGNORE_INDEX: tl.constexpr,
    FIRST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write every pixel's channel, and mark which channels an image has, the last: any pixel.

    Concurrent writes store the same value.
    """
    image = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    places = (pixel // width) * label_h + (pixel % width) * label_w
    label = tl.load(labels + image.to(tl.int64) * label_b + places, mask=inside, other=0)
    label = label.to(tl.int32)
    valid = inside & (label != IGNORE_INDEX)
    channel = label - FIRST
    exists = valid & (channel >= 0) & (channel < classes)
    target = tl.where(exists, channel, tl.where(valid, NOTHING, VOID))
    tl.store(targets + image.to(tl.int64) * height * width + pixel, target, mask=inside)

    flags = present + image * (classes + 1)
    seen = tl.load(flags + channel, mask=exists, other=1)
    tl.store(flags + channel, 1, mask=exists & (seen == 0))
    tl.store(flags + classes, 1, mask=tl.max(valid.to(tl.int32)) > 0)
