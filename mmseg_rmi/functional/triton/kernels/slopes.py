"""The gradient of the bounds by the pooled maps: a filter of the maps.

Cell u is entry i of the region at ``u - o_i``. With w the d x 2 d weights that :func:`.solve` finds
and X the maps P and Y, ``dI/dP[u] = sum_i (offset_i + sum_j w_ij X_j[u + o_j - o_i])``: where all
regions around a cell count, a correlation with ``(2 R - 1)^2`` weights, the sums of w over equal
lags. Weights are integers, in steps of their own for P and Y, so that sums are exact.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional.triton.kernels.border import locate_border

LARGEST_WEIGHT = tl.constexpr(2**30)  # a bound of the sums of a filter's weights, as integers


@triton.jit
def store_filter(
    weights, lag_weights, steps, map_, filter_, index, SIZE: tl.constexpr, LAG_TILE: tl.constexpr
):
    """Write the weights of one map's filter as integers, and their sums over equal lags."""
    d: tl.constexpr = SIZE * SIZE
    row, column = index[:, None], index[None, :]
    for kind in tl.static_range(2):
        part = (column >= kind * d) & (column < kind * d + d)
        largest = tl.max(tl.max(tl.where(part, tl.abs(filter_), 0.0), axis=1))
        step = tl.where(largest > 0, largest * d / LARGEST_WEIGHT, 1.0)
        tl.store(steps + map_ * 2 + kind, step)
        rounded = tl.floor(tl.where(part, filter_, 0.0) / step + 0.5).to(tl.int32)
        at = weights + map_ * 2 * d * d + row * 2 * d + column
        tl.store(at, rounded, mask=part & (row < d))
    tl.debug_barrier()  # its threads read what others of them wrote
    span: tl.constexpr = 2 * SIZE - 1
    lag = tl.arange(0, LAG_TILE)
    down, along = lag // span - (SIZE - 1), lag % span - (SIZE - 1)
    for kind in tl.static_range(2):
        total = tl.zeros([LAG_TILE], tl.int32)
        for i in range(d):
            j_row, j_column = i // SIZE + down, i % SIZE + along
            is_place = (j_row >= 0) & (j_row < SIZE) & (j_column >= 0) & (j_column < SIZE)
            j = kind * d + j_row * SIZE + j_column
            total += tl.load(weights + (map_ * d + i) * 2 * d + j, mask=is_place, other=0)
        at = lag_weights + (map_ * 2 + kind) * span * span + lag
        tl.store(at, total, mask=lag < span * span)


@triton.jit
def find_slopes(
    probability,
    truth,
    kept,
    present,
    weights,
    lag_weights,
    offsets,
    steps,
    slopes,
    classes,
    map_height,
    map_width,
    cells,
    cell_columns,
    inner_parts,
    top_rows,
    bottom_rows,
    side_columns,
    SIZE: tl.constexpr,
    FACTOR: tl.constexpr,
    MAX: tl.constexpr,
    EXCLUDE: tl.constexpr,
    PLACES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradient of a present class's bound by its pooled probabilities.

    The last programs of a map go over the cells at its border, and place by place: place i of a
    cell is left out if there is no such region.
    """
    d: tl.constexpr = SIZE * SIZE
    span: tl.constexpr = 2 * SIZE - 1
    map_, part = tl.program_id(0), tl.program_id(1)
    image = map_ // classes
    if tl.load(present + image * (classes + 1) + map_ % classes) == 0:
        return
    probability += map_.to(tl.int64) * cells
    truth += map_.to(tl.int64) * cells
    slopes += map_.to(tl.int64) * cells
    weights += map_ * 2 * d * d
    lag_weights += map_ * 2 * span * span
    offsets += map_ * d
    sum_p = tl.zeros([BLOCK], tl.int64)
    sum_y = tl.zeros([BLOCK], tl.int64)
    constant = tl.zeros([BLOCK], tl.float64)
    if part < inner_parts:
        at = top_rows * cell_columns + part * BLOCK + tl.arange(0, BLOCK)
        column = at % cell_columns
        inside = (column >= SIZE - 1) & (column <= map_width - SIZE)
        inside = inside & (at < (map_height - bottom_rows) * cell_columns)
        place = tl.arange(0, PLACES)
        constant += tl.sum(tl.load(offsets + place, mask=place < d, other=0.0))
        for lag in range(span * span):
            shift = (lag // span - (SIZE - 1)) * cell_columns + lag % span - (SIZE - 1)
            near_p = tl.load((probability + shift) + at).to(tl.int64)
            near_y = tl.load((truth + shift) + at).to(tl.int64)
            sum_p += near_p * tl.load(lag_weights + lag).to(tl.int64)
            sum_y += near_y * tl.load(lag_weights + span * span + lag).to(tl.int64)
    else:
        number = (part - inner_parts) * BLOCK + tl.arange(0, BLOCK)
        rows, sides = top_rows + bottom_rows, tl.maximum(2 * side_columns, 1)
        gap_h = map_height - bottom_rows - top_rows
        row, column = locate_border(number, map_width, top_rows, rows, gap_h, side_columns, sides)
        inside = number < rows * map_width + gap_h * 2 * side_columns
        at = row * cell_columns + column
        for i in range(d):
            i_row, i_column = i // SIZE, i % SIZE
            region_row, region_column = row - i_row, column - i_column
            holds = inside & (region_row >= 0) & (region_row <= map_height - SIZE)
            holds = holds & (region_column >= 0) & (region_column <= map_width - SIZE)
            if EXCLUDE:
                region = image.to(tl.int64) * cells + at - i_row * cell_columns - i_column
                holds = holds & (tl.load(kept + region, mask=holds, other=0) != 0)
            constant += tl.where(holds, tl.load(offsets + i), 0.0)
            for j in range(d):
                shift = (j // SIZE - i_row) * cell_columns + j % SIZE - i_column
                near_p = tl.load((probability + shift) + at, mask=holds, other=0).to(tl.int64)
                near_y = tl.load((truth + shift) + at, mask=holds, other=0).to(tl.int64)
                sum_p += near_p * tl.load(weights + i * 2 * d + j).to(tl.int64)
                sum_y += near_y * tl.load(weights + i * 2 * d + d + j).to(tl.int64)
    slope = sum_p.to(tl.float64) * tl.load(steps + map_ * 2)
    slope += sum_y.to(tl.float64) * tl.load(steps + map_ * 2 + 1) + constant
    if not MAX:
        slope = slope * (1.0 / (FACTOR * FACTOR))
    tl.store(slopes + at, slope.to(tl.float32).to(slopes.dtype.element_ty), mask=inside)
