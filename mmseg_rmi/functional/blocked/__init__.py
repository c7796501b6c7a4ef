"""The loss in torch: value and gradient in one pass over blocks of maps that fit a budget.

:mod:`.forward_backward` is the pass, :mod:`.chunk` its inputs and :mod:`.workspace` its memory;
:mod:`.region_solver` solves for the region term and its gradient, with the algebra of
:mod:`.closed_form` (in float32 of :mod:`.square_root`) on sums over the points that
:mod:`.region_points` holds; :mod:`.pooling` and :mod:`.interpolation` are downsampling and
upsampling with their adjoints.
"""

from mmseg_rmi.functional.blocked.forward_backward import rmi_terms

__all__ = ['rmi_terms']
