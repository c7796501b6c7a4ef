"""The loss, ``lambda / pixels * sum of tiles + (1 - lambda) / images * sum of bounds``.

One program adds up, in one order, in float64.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_up(
    partials,
    bounds,
    scores,
    pixel_scale,
    region_scale,
    total_out,
    region_out,
    score_out,
    correct_out,
    tiles,
    maps,
    REGION: tl.constexpr,
    SCORE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum up the loss, the region term's share of it, the mean score and the correct pixels."""
    index = tl.arange(0, BLOCK)
    entropy = tl.zeros([BLOCK], tl.float64)
    correct = tl.zeros([BLOCK], tl.float64)
    for first in range(0, tiles, BLOCK):
        at = first + index
        entropy += tl.load(partials + at * 2, mask=at < tiles, other=0.0)
        if SCORE:
            correct += tl.load(partials + at * 2 + 1, mask=at < tiles, other=0.0)
    total = tl.load(pixel_scale) * tl.sum(entropy)
    region = tl.zeros([], tl.float64)
    score = tl.zeros([], tl.float64)
    if REGION:
        bound = tl.zeros([BLOCK], tl.float64)
        scored = tl.zeros([BLOCK], tl.float64)
        number = tl.zeros([BLOCK], tl.float64)
        for first in range(0, maps, BLOCK):
            at = first + index
            bound += tl.load(bounds + at, mask=at < maps, other=0.0)
            if SCORE:
                value = tl.load(scores + at, mask=at < maps, other=float('nan'))
                known = value == value
                scored += tl.where(known, value, 0.0)
                number += tl.where(known, 1.0, 0.0)
        region = tl.load(region_scale) * tl.sum(bound)
        score = tl.sum(scored) / tl.maximum(tl.sum(number), 1.0)
    tl.store(total_out, (total + region).to(tl.float32))
    tl.store(region_out, region.to(tl.float32))
    tl.store(score_out, score.to(tl.float32))
    tl.store(correct_out, tl.sum(correct).to(tl.int64))
