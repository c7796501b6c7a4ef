"""Second moments of regions, from sums of products of shifted maps.

The ``R x R`` cells of a region m are entries of vectors, ``p_i(m) = P[m + o_i]`` and likewise y.
Their second moments ``sum_m p_i(m) p_j(m)``, ``p_i y_j`` and ``y_i y_j`` are ``(2 d) x (2 d)``
numbers of a map, ``d = R^2``. But for the cells that no region has at its place i, they depend on
the lag ``o_j - o_i`` alone: ``(2 R - 1)^2`` correlations of maps, and no window is ever stored.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.border import locate_border


@triton.jit
def keep_regions(
    touched,
    kept,
    map_height,
    map_width,
    cells,
    cell_columns,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Find the regions without a cell that holds an ignored pixel; each lies at its first cell."""
    image = tl.program_id(1).to(tl.int64)
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (cell // cell_columns <= map_height - SIZE) & (cell % cell_columns <= map_width - SIZE)
    found = tl.zeros([BLOCK], tl.int32)
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            at = image * cells + cell + i * cell_columns + j
            found += tl.load(touched + at, mask=inside, other=0).to(tl.int32)
    keep = inside & (found == 0)
    tl.store(kept + image * cells + cell, keep.to(tl.uint8), mask=cell < cells)


@triton.jit
def correlate(
    probability,
    truth,
    kept,
    present,
    products,
    sums,
    classes,
    map_height,
    map_width,
    cells,
    cell_columns,
    slabs,
    slab_cells,
    SIZE: tl.constexpr,
    LAG_BLOCK: tl.constexpr,
    EXCLUDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the products of a present class's maps with themselves and each other, shifted by lags.

    The first programs of a map sum over slabs of all cells, and one for each place i over the cells
    to be taken off again, which no region has there. Where regions are left out (``EXCLUDE``) the
    sums of each place are their own. Of a lag and its opposite, which is the same sum with the maps
    exchanged, one is enough. What lies beyond the maps is read, too, and multiplied by 0.
    """
    map_, part, chunk = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    image = map_ // classes
    if tl.load(present + image * (classes + 1) + map_ % classes) == 0:
        return
    span: tl.constexpr = 2 * SIZE - 1
    number = chunk * LAG_BLOCK + tl.arange(0, LAG_BLOCK)
    lag = number + (span * span - 1) // 2
    shift = (lag // span - (SIZE - 1)) * cell_columns + lag % span - (SIZE - 1)
    probability += map_.to(tl.int64) * cells
    truth += map_.to(tl.int64) * cells

    if EXCLUDE:
        place, slab = part // slabs, part % slabs
        kept += image.to(tl.int64) * cells
    else:
        place, slab = part - slabs, part
    top, left = place // SIZE, place % SIZE
    is_border = place >= 0
    if EXCLUDE:
        is_border = place < 0
    start = slab * slab_cells
    stop = tl.minimum(start + slab_cells, (map_height - 1) * cell_columns + map_width)
    edge: tl.constexpr = SIZE - 1
    sides: tl.constexpr = edge if edge > 0 else 1
    gap_h = map_height - edge
    start = tl.where(is_border, 0, start)
    stop = tl.where(is_border, edge * map_width + gap_h * edge, stop)

    pp = tl.zeros([LAG_BLOCK, BLOCK], tl.uint64)
    py = tl.zeros([LAG_BLOCK, BLOCK], tl.uint64)
    yp = tl.zeros([LAG_BLOCK, BLOCK], tl.uint64)
    yy = tl.zeros([LAG_BLOCK, BLOCK], tl.uint32)
    sum_p = tl.zeros([BLOCK], tl.uint64)
    sum_y = tl.zeros([BLOCK], tl.uint32)
    for first in range(start, stop, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < stop
        if is_border:
            row, column = locate_border(at, map_width, top, edge, gap_h, left, sides)
            at = tl.where(inside, row * cell_columns + column, 0)  # neighbours are read unmasked
        p = tl.load(probability + at, mask=inside, other=0).to(tl.uint32)
        y = tl.load(truth + at, mask=inside, other=0).to(tl.uint32)
        if EXCLUDE:
            region = at - top * cell_columns - left
            keep = tl.load(kept + region, mask=inside & (region >= 0), other=0)
            p, y = tl.where(keep != 0, p, 0), tl.where(keep != 0, y, 0)
        sum_p += p
        sum_y += y
        near = at[None, :] + shift[:, None]
        near_p = tl.load(probability + near).to(tl.uint32)
        near_y = tl.load(truth + near).to(tl.uint32)
        yy += y[None, :] * near_y
        p, y = p.to(tl.uint64)[None, :], y.to(tl.uint64)[None, :]
        near_p, near_y = near_p.to(tl.uint64), near_y.to(tl.uint64)
        pp += p * near_p
        py += p * near_y
        yp += y * near_p

    entry = map_.to(tl.int64) * tl.num_programs(1) + part
    lines = LAG_BLOCK * tl.num_programs(2)
    products += entry * 4 * lines + number
    tl.store(products, tl.sum(pp, axis=1))
    tl.store(products + lines, tl.sum(py, axis=1))
    tl.store(products + 2 * lines, tl.sum(yp, axis=1))
    tl.store(products + 3 * lines, tl.sum(yy, axis=1))
    if chunk == 0:
        tl.store(sums + entry * 2, tl.sum(sum_p))
        tl.store(sums + entry * 2 + 1, tl.sum(sum_y))


@triton.jit
def load_first_moment(sums, index, slabs, DIMENSION: tl.constexpr, EXCLUDE: tl.constexpr):
    """Return the sums over the regions of each row of ``[P, Y]``, in its own units."""
    place, kind = index % DIMENSION, index // DIMENSION
    inside = index < 2 * DIMENSION
    total = tl.zeros(index.shape, tl.float64)
    for slab in range(slabs):
        part = slab + place * 0
        if EXCLUDE:
            part = place * slabs + slab
        total += tl.load(sums + part * 2 + kind, mask=inside, other=0).to(tl.float64)
    if not EXCLUDE:
        at = sums + (slabs + place) * 2 + kind
        total -= tl.load(at, mask=inside, other=0).to(tl.float64)
    return total


@triton.jit
def load_second_moment(
    products, row, column, slabs, lines, SIZE: tl.constexpr, EXCLUDE: tl.constexpr
):
    """Return ``[P, Y] [P, Y]^T``, in units of its rows and columns."""
    d: tl.constexpr = SIZE * SIZE
    span: tl.constexpr = 2 * SIZE - 1
    i, j = row % d, column % d
    lag = (j // SIZE - i // SIZE) * span + j % SIZE - i % SIZE
    opposite = lag < 0
    place = tl.where(opposite, j, i)
    first, second = row // d, column // d
    kind = tl.where(opposite, second * 2 + first, first * 2 + second)
    entry = kind * lines + tl.abs(lag)
    inside = (row < 2 * d) & (column < 2 * d)
    total = tl.zeros(lag.shape, tl.float64)
    for slab in range(slabs):
        part = slab + place * 0
        if EXCLUDE:
            part = place * slabs + slab
        at = products + part * 4 * lines + entry
        total += tl.load(at, mask=inside, other=0).to(tl.float64)
    if not EXCLUDE:
        at = products + (slabs + place) * 4 * lines + entry
        total -= tl.load(at, mask=inside, other=0).to(tl.float64)
    return total
