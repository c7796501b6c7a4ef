"""The cells at the border of a map, numbered: those of whole rows first, then those of the sides.

Frames lie around ``gap_h x gap_w`` cells that are not of them: ``top`` rows above and the others of
``rows`` below, ``left`` columns before and the others of ``sides`` after.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate_border(number, map_width, top, rows, gap_h, left, sides):
    """Return the row and the column of a frame's cell."""
    line = number // map_width
    rest = number - rows * map_width
    is_line = rest < 0
    line_row = tl.where(line < top, line, line + gap_h)
    row = tl.where(is_line, line_row, top + rest // sides)
    side = rest % sides
    side = tl.where(side < left, side, side + map_width - sides)
    column = tl.where(is_line, number % map_width, side)
    return row, column
