"""Tiles of pixels, as programs hold them: whole cells of ``DF x DF`` pixels.

A tile is a ``SIDE x CELLS x SIDE`` tensor: the rows of a cell, the cells, the columns of a cell,
with ``SIDE`` the power of two from DF on. Cell ``(r, s)`` begins at pixel
``(r DF - PADDING, s DF - PADDING)``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate_tile(
    block,
    height,
    width,
    cell_columns,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    CELLS: tl.constexpr,
    SIDE: tl.constexpr,
):
    """Find the cells and the pixels of a tile.

    Returns:
        The cells, ``CELLS``, with their rows and columns; the rows ``SIDE x CELLS x 1`` and the
        columns ``1 x CELLS x SIDE`` of the pixels; whether a pixel is of its cell and the image.
    """
    cell = block * CELLS + tl.arange(0, CELLS)
    cell_row, cell_column = cell // cell_columns, cell % cell_columns
    inner = tl.arange(0, SIDE)
    rows = (cell_row * FACTOR - PADDING)[None, :, None] + inner[:, None, None]
    columns = (cell_column * FACTOR - PADDING)[None, :, None] + inner[None, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside = inside & (inner < FACTOR)[:, None, None] & (inner < FACTOR)[None, None, :]
    return cell, cell_row, cell_column, rows, columns, inside


@triton.jit
def number_in_cell(FACTOR: tl.constexpr, SIDE: tl.constexpr):
    """Number the pixels of a cell, row by row, ``SIDE x 1 x SIDE``."""
    inner = tl.arange(0, SIDE)
    return inner[:, None, None] * FACTOR + inner[None, None, :]
