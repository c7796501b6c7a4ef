"""The bound of a map, ``I_l``, its region score, and the gradient by the pooled map as a filter.

With S the covariances of ``[P, Y]``, ``2 d x 2 d``, elimination gives ``S + xi I = L D L^T`` and
``L^-1``. The last d pivots are those of ``M + xi I``, so ``log det(M + xi I)`` is the sum of their
logarithms; and with T the last d rows of ``D^-1/2 L^-1`` the gradient is ``1/d T_P^T T [P, Y]``,
centred: see the derivation in :mod:`mmseg_rmi.functional.blocked.closed_form`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional import regions as region_maps
from mmseg_rmi.functional.triton.kernels.moments import load_first_moment, load_second_moment
from mmseg_rmi.functional.triton.kernels.pooling import ONE
from mmseg_rmi.functional.triton.kernels.slopes import store_filter

LEAST_VARIANCE = tl.constexpr(region_maps.LEAST_VARIANCE)


@triton.jit
def find_log_determinant(matrix, index, first, last):
    """Return log det of a positive definite matrix's rows from first to last, by elimination."""
    row, column = index[:, None], index[None, :]
    pivots = tl.full(index.shape, 1.0, tl.float64)
    for k in range(first, last):
        down = tl.sum(tl.where(column == k, matrix, 0.0), axis=1)
        along = tl.sum(tl.where(row == k, matrix, 0.0), axis=0)
        pivot = tl.sum(tl.where(index == k, along, 0.0))
        pivots = tl.where(index == k, pivot, pivots)
        matrix -= (down * (1.0 / pivot))[:, None] * along[None, :]
    return tl.sum(tl.log(pivots))


@triton.jit
def eliminate(matrix, index, d: tl.constexpr, TILE: tl.constexpr):
    """Return log det of ``M + xi I``, and ``T^T T``, of the matrix ``S + xi I``."""
    row, column = index[:, None], index[None, :]
    precision = tl.zeros([TILE, TILE], tl.float64)
    pivots = tl.full([TILE], 1.0, tl.float64)
    for k in range(2 * d):
        down = tl.sum(tl.where(column == k, matrix, 0.0), axis=1)
        along = tl.sum(tl.where(row == k, matrix, 0.0), axis=0)
        pivot = tl.sum(tl.where(index == k, along, 0.0))
        inverse = 1.0 / pivot
        factor = tl.where(index > k, down * inverse, 0.0)[:, None]
        left_over = matrix - factor * along[None, :]
        matrix = tl.where((column == k) & (row > k), -factor, left_over)
        if k >= d:  # before its diagonal, which is 1, a row is by now one of L^-1
            line = tl.where(index < k, along, tl.where(index == k, 1.0, 0.0))
            pivots = tl.where(index == k, pivot, pivots)
            precision += line[:, None] * (line * inverse)[None, :]
    return tl.sum(tl.log(pivots)), precision


@triton.jit
def find_scale(variance, count, COVARIANCE: tl.constexpr):
    """Return the factor that makes covariances of sums over regions, see ``RMISettings``."""
    if COVARIANCE == 'mean':
        scale = 1.0 / count
    elif COVARIANCE == 'relative':
        varies = variance > count * LEAST_VARIANCE
        scale = tl.where(varies, 1.0 / tl.where(varies, variance, 1.0), 0.0)
    else:
        scale = tl.full([], 1.0, tl.float64)
    return scale


@triton.jit
def solve(
    products,
    sums,
    kept_counts,
    present,
    bounds,
    scores,
    weights,
    lag_weights,
    offsets,
    steps,
    classes,
    parts,
    slabs,
    lines,
    regions,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    LAG_TILE: tl.constexpr,
    FACTOR: tl.constexpr,
    MAX: tl.constexpr,
    COVARIANCE: tl.constexpr,
    RIDGE: tl.constexpr,
    FLOOR: tl.constexpr,
    NONNEGATIVE: tl.constexpr,
    EXCLUDE: tl.constexpr,
    SCORE: tl.constexpr,
    GRADIENT: tl.constexpr,
):
    """Find a map's bound, its score, and the weights of the filter that is its gradient."""
    d: tl.constexpr = SIZE * SIZE
    map_ = tl.program_id(0)
    image = map_ // classes
    if EXCLUDE:
        n = tl.load(kept_counts + image).to(tl.float64)
    else:
        n = (regions * tl.load(present + image * (classes + 1) + classes)).to(tl.float64)
    floor = tl.full([], FLOOR, tl.float64)
    if tl.load(present + image * (classes + 1) + map_ % classes) == 0:
        if NONNEGATIVE:
            floor = floor * 0.0
        tl.store(bounds + map_, tl.where(n >= 2, floor, 0.0))
        tl.store(scores + map_, float('nan'))
        return

    index = tl.arange(0, TILE)
    row, column = index[:, None], index[None, :]
    products += map_.to(tl.int64) * parts * 4 * lines
    sums += map_.to(tl.int64) * parts * 2
    ridge = tl.full([], RIDGE, tl.float64)
    unit_p = tl.full([], 1.0, tl.float64) / ONE
    unit_y = tl.full([], 1.0, tl.float64)
    if not MAX:
        unit_y = unit_y / (FACTOR * FACTOR)
    units_down = tl.where(row < d, unit_p, unit_y)
    units_along = tl.where(column < d, unit_p, unit_y)

    count = tl.maximum(n, 1.0)
    mean_down = load_first_moment(sums, row, slabs, d, EXCLUDE) * units_down / count
    mean_along = load_first_moment(sums, column, slabs, d, EXCLUDE) * units_along / count
    second = load_second_moment(products, row, column, slabs, lines, SIZE, EXCLUDE)
    second = second * units_down * units_along
    covariance = second - mean_down * mean_along * count

    is_truth = (row >= d) & (column >= d) & (row < 2 * d) & (column < 2 * d)
    diagonal = row == column
    truth_diagonal = tl.where(is_truth & diagonal, covariance, 0.0)
    variance = tl.sum(tl.sum(truth_diagonal, axis=1)) / d
    scale = find_scale(variance, count, COVARIANCE)
    covariance = tl.where((row < 2 * d) & (column < 2 * d), covariance * scale, 0.0)
    matrix = covariance + tl.where(diagonal, tl.where(row < 2 * d, ridge, 1.0), 0.0)
    if SCORE:  # what it takes of the truth alone, while few registers are taken
        truth = tl.where(is_truth, covariance, 0.0)
        ridges = tl.where(diagonal, ridge, 0.0)
        empty = find_log_determinant(truth + ridges, index, d, 2 * d)
        doubled = find_log_determinant(2.0 * truth + ridges, index, d, 2 * d)
        moment = tl.max(tl.max(tl.where(is_truth & diagonal, second, 0.0), axis=1))
        spread = tl.max(tl.max(truth_diagonal, axis=1))

    volume, precision = eliminate(matrix, index, d, TILE)
    bound = volume / (2 * d) - floor
    if NONNEGATIVE:
        bound = tl.where(bound < 0, 0.0, bound)  # by rounding alone; keeps NaN
    else:
        bound += floor
    tl.store(bounds + map_, tl.where(n >= 2, bound, 0.0))
    if SCORE:
        explained = empty - volume
        explicable = 2.0 * empty - doubled - 2 * d * floor
        score = tl.minimum(tl.maximum(explained / explicable, 0.0), 1.0)
        tl.store(scores + map_, tl.where(spread > moment * LEAST_VARIANCE, score, float('nan')))
    if GRADIENT:
        precision = precision * tl.where(n >= 2, scale / d, 0.0)
        precision = tl.where((row < d) & (column < 2 * d), precision, 0.0)
        offset = -tl.sum(precision * mean_along, axis=1)
        tl.store(offsets + map_ * d + index, offset, mask=index < d)
        store_filter(
            weights, lag_weights, steps, map_, precision * units_along, index, SIZE, LAG_TILE
        )
