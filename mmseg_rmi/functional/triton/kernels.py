"""The kernels of the loss, in the order in which :mod:`.launch` launches them.

Tiles of pixels are ``SIDE x CELLS x SIDE`` tensors: the rows of a cell, the cells, the columns of a
cell, with ``SIDE`` the power of two from DF on. Pooled maps lie in memory row by row with at least
``R - 1`` columns and rows of zeros after them, so that a cell and its neighbour at any lag of a
region are a constant number of elements apart, and a neighbour beyond the border is a zero.

Pooled probabilities are integers, in units of ``2^-24`` (the rounding of a float32 just below 1),
and pooled one-hot maps are counts of pixels. Sums of their products are therefore exact, in any
order and on any card.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmseg_rmi.functional import regions

VOID = tl.constexpr(-2)  # target of an ignored pixel
NOTHING = tl.constexpr(-1)  # target of a pixel that counts and is of no channel
ONE = tl.constexpr(2**24)  # a pooled probability of 1, as an integer
LARGEST_WEIGHT = tl.constexpr(2**30)  # a bound of the sums of a filter's weights, as integers
PRODUCT_CLASSES = tl.constexpr(64)  # so many factors in [1, 2] have a product in float32
LEAST_VARIANCE = tl.constexpr(regions.LEAST_VARIANCE)


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


@triton.jit
def _pixels_of_cells(
    block,
    cell_columns,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    CELLS: tl.constexpr,
    SIDE: tl.constexpr,
):
    """Return the cells of a tile, their rows and columns, and those of their pixels."""
    cell = block * CELLS + tl.arange(0, CELLS)
    cell_row, cell_column = cell // cell_columns, cell % cell_columns
    inner = tl.arange(0, SIDE)
    rows = (cell_row * FACTOR - PADDING)[None, :, None] + inner[:, None, None]
    columns = (cell_column * FACTOR - PADDING)[None, :, None] + inner[None, None, :]
    return cell, cell_row, cell_column, rows, columns


@triton.jit
def _is_of_cell(SIDE: tl.constexpr, FACTOR: tl.constexpr):
    inner = tl.arange(0, SIDE)
    return (inner < FACTOR)[:, None, None] & (inner < FACTOR)[None, None, :]


@triton.jit
def _source(position, scale, size, ALIGN_CORNERS: tl.constexpr):
    """Return the two places that an interpolated one lies between, and the second's weight."""
    if ALIGN_CORNERS:
        at = position.to(tl.float32) * scale
    else:
        at = tl.maximum((position.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    first = tl.minimum(at.to(tl.int32), size - 1)
    return first, tl.minimum(first + 1, size - 1), at - first.to(tl.float32)


@triton.jit
def _blend(plane, row, first, second, weight, mask):
    """Load logits of one row at two columns, interpolated between them."""
    left = tl.load(plane + (row + first), mask=mask, other=0.0).to(tl.float32)
    right = tl.load(plane + (row + second), mask=mask, other=0.0).to(tl.float32)
    return (1 - weight) * left + weight * right


@triton.jit
def _load_logits(
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
    """Load a tile of one map of logits in float32, up-sampled if they are of low resolution."""
    if STREAMED:
        top, bottom, fall = _source(rows, scale_h, low_height, ALIGN_CORNERS)
        left, right, run = _source(columns, scale_w, low_width, ALIGN_CORNERS)
        left, right = left * stride_w, right * stride_w
        upper = _blend(plane, top * stride_h, left, right, run, inside)
        lower = _blend(plane, bottom * stride_h, left, right, run, inside)
        x = (1 - fall) * upper + fall * lower
    else:
        places = rows * stride_h + columns * stride_w
        x = tl.load(plane + places, mask=inside, other=0.0).to(tl.float32)
    return x


@triton.jit
def _sigmoid(x, decay):
    """Return the sigmoid of x, decay being ``exp(-|x|)``."""
    return tl.where(x >= 0, 1.0, decay) / (1.0 + decay)


@triton.jit
def _pool(p, inside, FACTOR: tl.constexpr, SIDE: tl.constexpr, MAX: tl.constexpr):
    """Return a tile's pooled probabilities as integers, and where in its cell the greatest is."""
    if MAX:
        p = tl.where(inside, p, -1.0)
        pooled = tl.max(tl.max(p, axis=0), axis=1)
        inner = tl.arange(0, SIDE)
        place = inner[:, None, None] * FACTOR + inner[None, None, :]
        place = tl.where(p == pooled[None, :, None], place, 2 * SIDE * SIDE)
        winner = tl.min(tl.min(place, axis=0), axis=1)
    else:
        pooled = tl.sum(tl.sum(p, axis=0), axis=1) / (FACTOR * FACTOR)
        winner = pooled.to(tl.int32)
    return (pooled * ONE + 0.5).to(tl.int32), winner


@triton.jit
def _store_pooled(
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
    pooled, winner = _pool(p, inside, FACTOR, SIDE, MAX)
    count = tl.sum(tl.sum(own.to(tl.int32), axis=0), axis=1)
    pooled = tl.where(is_pooled, pooled, 0)
    count = tl.where(is_pooled, count, 0)
    if MAX:
        count = tl.minimum(count, 1)
        tl.store(winners + at, winner.to(tl.uint8), mask=exists)
    tl.store(probability + at, pooled, mask=exists)
    tl.store(truth + at, count.to(truth.dtype.element_ty), mask=exists)


# A width known to be a multiple of 16 would shape the layout of the targets, and up-sampled logits
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
    """Read a tile of logits once: the pixel term's sum, and pooled maps of the present classes.

    ``sum_c softplus(x_c) = sum_c max(x_c, 0) + log prod_c (1 + exp(-|x_c|))``: one logarithm for
    many classes. What an infinite logit would leave finite, ``0 * x`` makes NaN.
    """
    image, block = tl.program_id(1), tl.program_id(0)
    cell, cell_row, cell_column, rows, columns = _pixels_of_cells(
        block, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside = inside & _is_of_cell(SIDE, FACTOR)
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
            x = _load_logits(
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
            if CROSS_ENTROPY:
                loss += 0.0 * x - tl.where(own, x, 0.0)
            elif CLASS_WEIGHT:
                entropy = tl.maximum(x, 0.0) + 0.0 * x + tl.log(1.0 + decay)
                loss += tl.load(class_weight + c) * (entropy - tl.where(own, x, 0.0))
            else:
                loss += tl.maximum(x, 0.0) + 0.0 * x - tl.where(own, x, 0.0)
                product *= 1.0 + decay
            if CROSS_ENTROPY or SOFTMAX:
                ahead = x - greatest
                ratio = tl.exp(-tl.abs(ahead))
                total = tl.where(ahead > 0, total * ratio + 1.0, total + ratio)
                greatest = tl.maximum(greatest, x)
            if SCORE:
                better = x > tl.where(classes == 1, tl.zeros_like(best), best)
                prediction = tl.where(better, c, prediction)
                best = tl.maximum(best, x)
            if REGION and not SOFTMAX:
                if is_present:
                    p = tl.where(valid, _sigmoid(x, decay), 0.0)
                    at = (image.to(tl.int64) * classes + c) * cells + cell
                    _store_pooled(
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
        loss = tl.where(target >= 0, loss + norm, loss * 0.0 + norm * 0.0)
        if CLASS_WEIGHT:
            loss *= tl.load(class_weight + target, mask=target >= 0, other=0.0)
    if SOFTMAX and REGION:
        plane = logits
        for c in range(classes):
            if tl.load(flags + c) != 0:
                x = _load_logits(
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
                _store_pooled(
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

    ``sum_m a[m + o_i] b[m + o_j]`` over the regions m depends on the lag ``o_j - o_i`` alone, but
    for the cells that no region has at its place i. So the first programs of a map sum over slabs
    of all cells, and one for each place i over the cells to be taken off again. Where regions are
    left out (``EXCLUDE``) the sums of each place are their own. Of a lag and its opposite, which
    is the same sum with a and b exchanged, one is enough. What lies beyond the maps is read, too,
    and multiplied by 0.
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
    divisor: tl.constexpr = edge if edge > 0 else 1
    gap_h, gap_w = map_height - edge, map_width - edge
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
            line = at // map_width  # of the rows above and below
            line_row = tl.where(line < top, line, line + gap_h)
            rest = at - edge * map_width  # of the columns left and right of the other rows
            side = rest % divisor
            side_column = tl.where(side < left, side, side + gap_w)
            is_line = rest < 0
            row = tl.where(is_line, line_row, top + rest // divisor)
            column = tl.where(is_line, at % map_width, side_column)
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
def _first_moment(sums, index, slabs, DIMENSION: tl.constexpr, EXCLUDE: tl.constexpr):
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
def _second_moment(products, row, column, slabs, lines, SIZE: tl.constexpr, EXCLUDE: tl.constexpr):
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


@triton.jit
def _log_determinant(matrix, index, first, last):
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
    """Find a map's bound, its score, and the weights of the filter that is its gradient.

    With S the covariances of ``[P, Y]``, elimination gives ``S + xi I = L D L^T`` and ``L^-1``. The
    last d pivots are those of ``M + xi I``; and with T the last d rows of ``D^-1/2 L^-1`` the
    gradient is ``1/d T_P^T T [P, Y]``, centred: see the derivation in
    :mod:`mmseg_rmi.functional.blocked.closed_form`.
    """
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
    mean_down = _first_moment(sums, row, slabs, d, EXCLUDE) * units_down / count
    mean_along = _first_moment(sums, column, slabs, d, EXCLUDE) * units_along / count
    second = _second_moment(products, row, column, slabs, lines, SIZE, EXCLUDE)
    second = second * units_down * units_along
    covariance = second - mean_down * mean_along * count

    is_truth = (row >= d) & (column >= d) & (row < 2 * d) & (column < 2 * d)
    diagonal = row == column
    truth_diagonal = tl.where(is_truth & diagonal, covariance, 0.0)
    variance = tl.sum(tl.sum(truth_diagonal, axis=1)) / d
    if COVARIANCE == 'mean':
        scale = 1.0 / count
    elif COVARIANCE == 'relative':
        varies = variance > count * LEAST_VARIANCE
        scale = tl.where(varies, 1.0 / tl.where(varies, variance, 1.0), 0.0)
    else:
        scale = tl.full([], 1.0, tl.float64)
    covariance = tl.where((row < 2 * d) & (column < 2 * d), covariance * scale, 0.0)
    matrix = covariance + tl.where(diagonal, tl.where(row < 2 * d, ridge, 1.0), 0.0)
    if SCORE:  # what it takes of the truth alone, while few registers are taken
        truth = tl.where(is_truth, covariance, 0.0)
        ridges = tl.where(diagonal, ridge, 0.0)
        empty = _log_determinant(truth + ridges, index, d, 2 * d)
        doubled = _log_determinant(2.0 * truth + ridges, index, d, 2 * d)
        moment = tl.max(tl.max(tl.where(is_truth & diagonal, second, 0.0), axis=1))
        spread = tl.max(tl.max(truth_diagonal, axis=1))

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
    volume = tl.sum(tl.log(pivots))

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
        filter_ = precision * units_along
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

    ``sum_i sum_j w_ij X_j[u + o_j - o_i]``: where all regions around a cell count, a correlation
    with ``(2 R - 1)^2`` weights, the sums of w over equal lags. Elsewhere (the last programs of a
    map) place i is left out if there is no such region.
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
        line = number // map_width
        rest = number - (top_rows + bottom_rows) * map_width
        sides = tl.maximum(2 * side_columns, 1)
        is_line = rest < 0
        last_rows = map_height - bottom_rows - top_rows
        line_row = tl.where(line < top_rows, line, line + last_rows)
        row = tl.where(is_line, line_row, top_rows + rest // sides)
        side = rest % sides
        side = tl.where(side < side_columns, side, side + map_width - sides)
        column = tl.where(is_line, number % map_width, side)
        border = (top_rows + bottom_rows) * map_width + last_rows * 2 * side_columns
        inside = number < border
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


@triton.jit
def _slope_of_pixels(slopes, winners, at, place, inside, FACTOR: tl.constexpr, MAX: tl.constexpr):
    """Return the gradient of the bound by the pixels' probabilities."""
    slope = tl.load(slopes + at, mask=inside, other=0.0).to(tl.float32)
    if MAX:
        winner = tl.load(winners + at, mask=inside, other=0).to(tl.int32)
        slope = tl.where(winner == place, slope, 0.0)
    return slope


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
    cell, cell_row, cell_column, rows, columns = _pixels_of_cells(
        block, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside = inside & _is_of_cell(SIDE, FACTOR)
    pooled = inside & ((cell_row < map_height) & (cell_column < map_width))[None, :, None]
    inner = tl.arange(0, SIDE)
    place = inner[:, None, None] * FACTOR + inner[None, None, :]
    pixel = image.to(tl.int64) * height * width + rows * width + columns
    norm = tl.load(log_sum_exp + pixel, mask=inside, other=0.0)
    average = tl.zeros([SIDE, CELLS, SIDE], tl.float32)
    plane = logits + image.to(tl.int64) * logit_b
    for c in range(classes):
        if tl.load(present + image * (classes + 1) + c) != 0:
            x = _load_logits(
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
            slope = _slope_of_pixels(slopes, winners, at, place, pooled, FACTOR, MAX)
            average += tl.exp(x - norm) * slope
        plane += logit_c
    tl.store(averages + pixel, average, mask=inside)


@triton.jit
def _logit_gradient(
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
    FACTOR: tl.constexpr,
    MAX: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr,
    SOFTMAX: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
    REGION: tl.constexpr,
):
    """Return the gradient of both terms by a tile of one class's logits."""
    if CROSS_ENTROPY:
        gradient = scale * (tl.exp(x - norm) - own.to(tl.float32))
    else:
        p = _sigmoid(x, tl.exp(-tl.abs(x)))
        gradient = scale * (p - own.to(tl.float32))
        if CLASS_WEIGHT:
            gradient *= tl.load(class_weight + c)
    if REGION and SOFTMAX:
        p = tl.where(valid, tl.exp(x - norm), 0.0)
        slope = -average
        if is_present:
            slope += _slope_of_pixels(slopes, winners, at, place, pooled, FACTOR, MAX)
        gradient += region_scale * (p * slope)
    elif REGION:
        if is_present:
            p = _sigmoid(x, tl.exp(-tl.abs(x)))
            slope = _slope_of_pixels(slopes, winners, at, place, pooled, FACTOR, MAX)
            change = region_scale * (p * (1.0 - p) * slope)
            gradient += tl.where(valid, change, 0.0)
    return gradient


@triton.jit
def _scale_of_pixels(
    target,
    valid,
    pixel_weight,
    class_weight,
    places,
    inside,
    pixel_scale,
    CROSS_ENTROPY: tl.constexpr,
    PIXEL_WEIGHT: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
):
    """Return the factor of every pixel's share of the pixel term."""
    scale = tl.where(valid, pixel_scale, 0.0)
    if PIXEL_WEIGHT:
        scale *= tl.load(pixel_weight + places, mask=inside, other=0.0).to(tl.float32)
    if CROSS_ENTROPY:
        scale = tl.where(target >= 0, scale, 0.0)
        if CLASS_WEIGHT:
            scale *= tl.load(class_weight + target, mask=target >= 0, other=0.0)
    return scale


@triton.jit
def _scale_by(incoming, scale):
    """Return the factor of a sum's gradient: its own times what comes from above."""
    return (tl.load(incoming).to(tl.float64) * tl.load(scale)).to(tl.float32)


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
    cell, cell_row, cell_column, rows, columns = _pixels_of_cells(
        block, cell_columns, FACTOR, PADDING, CELLS, SIDE
    )
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside = inside & _is_of_cell(SIDE, FACTOR)
    pooled = ((cell_row < map_height) & (cell_column < map_width))[None, :, None]
    inner = tl.arange(0, SIDE)
    place = inner[:, None, None] * FACTOR + inner[None, None, :]
    pixel = image.to(tl.int64) * height * width + rows * width + columns
    target = tl.load(targets + pixel, mask=inside, other=VOID).to(tl.int32)
    valid = target != VOID
    pixel_scale = _scale_by(incoming, pixel_scale)
    region_scale = _scale_by(incoming, region_scale)
    scale = _scale_of_pixels(
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
        value = _logit_gradient(
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
            FACTOR,
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


@triton.jit
def _first_of_support(place, stretch, ALIGN_CORNERS: tl.constexpr):
    """Return the first pixel of which a low-resolution pixel is a part."""
    if ALIGN_CORNERS:
        edge = (place - 1).to(tl.float32) * stretch
    else:
        edge = (place.to(tl.float32) - 0.5) * stretch - 0.5
    return tl.floor(edge).to(tl.int32) + 1


@triton.jit
def _part_of(place, position, scale, size, ALIGN_CORNERS: tl.constexpr):
    """Return a low-resolution pixel's weight in interpolated ones."""
    first, second, weight = _source(position, scale, size, ALIGN_CORNERS)
    return tl.where(first == place, 1.0 - weight, 0.0) + tl.where(second == place, weight, 0.0)


@triton.jit
def _read_rows(
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
    """Read what the pixels around a low-resolution row share in all classes.

    Returns:
        The weights in their logits of the rows before, at and after the low-resolution one; their
        targets, scales, normalizers and averages; their cells, the places therein, and whether the
        cells are of the map.
    """
    row = (first_row + number)[:, None]
    inside = (row >= 0) & (row < height) & (number < support_rows)[:, None] & in_width[None, :]
    top, bottom, fall = _source(row, scale_h, low_height, ALIGN_CORNERS)
    before = tl.where(top == low_row, 0.0, 1.0 - fall)
    after = tl.where(bottom == low_row, 0.0, fall)
    share = tl.where((row >= 0) & (row < height), 1.0 - before - after, 0.0)
    share = tl.where((top == low_row) | (bottom == low_row), share, 0.0)
    pixel = image.to(tl.int64) * height * width + row * width + columns
    target = tl.load(targets + pixel, mask=inside, other=VOID).to(tl.int32)
    scale = _scale_of_pixels(
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

    The pixels around the row are up-sampled and differentiated in registers, summed over the rows
    by the weight that the low-resolution row has in each, and then over the columns likewise. Who
    owns a low-resolution pixel sums all of it, in one order.
    """
    low_row, block, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    low = block * owned + tl.arange(0, OWNED)
    first_column = _first_of_support(block * owned, stretch_w, ALIGN_CORNERS)
    columns = first_column + tl.arange(0, COLUMNS)
    left, right, run = _source(columns, scale_w, low_width, ALIGN_CORNERS)
    left, right = left * logit_w, right * logit_w
    in_width = (columns >= 0) & (columns < width)

    start = _first_of_support(low, stretch_w, ALIGN_CORNERS)
    support = start[:, None] + tl.arange(0, SUPPORT)[None, :]
    part = _part_of(low[:, None], support, scale_w, low_width, ALIGN_CORNERS)
    part = tl.where((support >= 0) & (support < width), part, 0.0)
    taken = tl.minimum(tl.maximum(support - first_column, 0), COLUMNS - 1)
    taken = tl.reshape(taken, [OWNED * SUPPORT])
    is_owned = (low < low_width) & (tl.arange(0, OWNED) < owned)

    pixel_scale = _scale_by(incoming, pixel_scale)
    region_scale = _scale_by(incoming, region_scale)
    first_row = _first_of_support(low_row, stretch_h, ALIGN_CORNERS)
    above = tl.maximum(low_row - 1, 0) * logit_h
    below = tl.minimum(low_row + 1, low_height - 1) * logit_h
    logits += image.to(tl.int64) * logit_b
    gradient += image.to(tl.int64) * gradient_b + low_row * gradient_h
    number = tl.arange(0, ROWS)
    if ONE_CHUNK:  # rows are read once for all classes
        before, share, after, target, scale, norm, average, cell, place, pooled = _read_rows(
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
        upper = _blend(logits, above, left, right, run, in_width)[None, :]
        middle = _blend(logits, low_row * logit_h, left, right, run, in_width)[None, :]
        lower = _blend(logits, below, left, right, run, in_width)[None, :]
        is_present = tl.load(present + image * (classes + 1) + c) != 0
        column_sums = tl.zeros([COLUMNS], tl.float32)
        for start_row in range(0, ROWS if ONE_CHUNK else support_rows, ROWS):
            if not ONE_CHUNK:
                before, share, after, target, scale, norm, average, cell, place, pooled = (
                    _read_rows(
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
                )
            value = _logit_gradient(
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
                FACTOR,
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
