"""Downsampling: pooled probabilities and pooled one-hot maps, as integers.

Of the pixels u of a cell, ``P = avg p_u`` or ``max p_u`` and ``Y = sum y_u`` or ``max y_u``. P is
stored in units of ``1 / ONE``, the rounding of a float32 just below 1, and Y as a count of pixels.
Sums of their products are therefore exact, in any order and on any card.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.tiles import number_in_cell

ONE = tl.constexpr(2**24)  # a pooled probability of 1, as an integer


@triton.jit
def pool(p, inside, FACTOR: tl.constexpr, SIDE: tl.constexpr, MAX: tl.constexpr):
    """Return a tile's pooled probabilities as integers, and where in its cell the greatest is."""
    if MAX:
        p = tl.where(inside, p, -1.0)
        pooled = tl.max(tl.max(p, axis=0), axis=1)
        place = number_in_cell(FACTOR, SIDE)
        place = tl.where(p == pooled[None, :, None], place, 2 * SIDE * SIDE)
        winner = tl.min(tl.min(place, axis=0), axis=1)
    else:
        pooled = tl.sum(tl.sum(p, axis=0), axis=1) / (FACTOR * FACTOR)
        winner = pooled.to(tl.int32)
    return (pooled * ONE + 0.5).to(tl.int32), winner


@triton.jit
def store_pooled(
    p,
    own,
    inside,
    probability,
    truth,
    winners,
    at,
    exists,
    is_pooled,
    FACTOR: tl.constexpr,
    SIDE: tl.constexpr,
    MAX: tl.constexpr,
):
    """Write the pooled maps of one present class, zero in the margin."""
    pooled, winner = pool(p, inside, FACTOR, SIDE, MAX)
    count = tl.sum(tl.sum(own.to(tl.int32), axis=0), axis=1)
    pooled = tl.where(is_pooled, pooled, 0)
    count = tl.where(is_pooled, count, 0)
    if MAX:
        count = tl.minimum(count, 1)
        tl.store(winners + at, winner.to(tl.uint8), mask=exists)
    tl.store(probability + at, pooled, mask=exists)
    tl.store(truth + at, count.to(truth.dtype.element_ty), mask=exists)


@triton.jit
def load_slopes(slopes, winners, at, place, inside, MAX: tl.constexpr):
    """Load the gradient of the bound by the cells' pooled p, for those of its pixels it goes to.

    With maxima these are the winners. An average's share, ``1 / DF^2``, is in the slopes already.
    """
    slope = tl.load(slopes + at, mask=inside, other=0.0).to(tl.float32)
    if MAX:
        winner = tl.load(winners + at, mask=inside, other=0).to(tl.int32)
        slope = tl.where(winner == place, slope, 0.0)
    return slope
