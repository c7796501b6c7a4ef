"""The kernels of the loss, in the order in which :mod:`..launch` launches them.

Each module says what it computes; :mod:`.tiles`, :mod:`.upsampling`, :mod:`.pixel_term`,
:mod:`.pooling` and :mod:`.border` are functions that kernels share.

Pooled maps lie in memory row by row with at least ``R - 1`` columns and rows of zeros after them,
so that a cell and its neighbour at any lag of a region are a constant number of elements apart, and
a neighbour beyond the border is a zero.
"""

from mmseg_rmi.functional.triton.kernels.bound import solve
from mmseg_rmi.functional.triton.kernels.forward import pool_logits
from mmseg_rmi.functional.triton.kernels.gradient import average_slopes, write_gradient
from mmseg_rmi.functional.triton.kernels.low_gradient import write_low_gradient
from mmseg_rmi.functional.triton.kernels.moments import correlate, keep_regions
from mmseg_rmi.functional.triton.kernels.slopes import find_slopes
from mmseg_rmi.functional.triton.kernels.targets import find_targets
from mmseg_rmi.functional.triton.kernels.totals import add_up

__all__ = [
    'add_up',
    'average_slopes',
    'correlate',
    'find_slopes',
    'find_targets',
    'keep_regions',
    'pool_logits',
    'solve',
    'write_gradient',
    'write_low_gradient',
]
