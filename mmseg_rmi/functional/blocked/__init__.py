"""The loss in torch: value and gradient in one pass over blocks of maps that fit a budget.

:mod:`.forward_backward` is the pass, :mod:`.chunk` its inputs and :mod:`.workspace` its memory;
:mod:`.closed_form` solves for the region term and derives its gradient; :mod:`.pooling` and
:mod:`.interpolation` are down- and up-sampling with their adjoints.
"""

from mmseg_rmi.functional.blocked.forward_backward import rmi_terms

__all__ = ['rmi_terms']
