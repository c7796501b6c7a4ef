"""The method in pure torch: regions, their statistics, the objective.

Read it in the order of the paper: :mod:`downsampling` and :mod:`regions` (figure 1, section 4),
:mod:`mutual_information` (Eq. 9 to 15), :mod:`objective` (Eq. 16); :mod:`settings` holds what these
leave to choose. :mod:`one_pass` computes the same objective at a fraction of its cost, by means of
:mod:`closed_form` and :mod:`gradient_with_value`; :mod:`streaming` from logits that are still to
be up-sampled. :mod:`affinity_field` is a loss that the paper compares with. Nothing here knows
MMSegmentation.
"""

from mmseg_rmi.functional.affinity_field import (
    affinity_field_loss,
    count_elements,
    downsample_labels,
)
from mmseg_rmi.functional.downsampling import downsample, pooled_side
from mmseg_rmi.functional.mutual_information import log_volume, posterior_covariance, region_score
from mmseg_rmi.functional.objective import (
    Normalizers,
    batch_normalizers,
    cross_entropy_sum,
    negative_lower_bounds,
    one_hot,
    promote,
    rmi_objective,
)
from mmseg_rmi.functional.one_pass import one_pass_objective
from mmseg_rmi.functional.regions import centre, extract_regions
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.functional.streaming import StreamedTerms, streamed_objective

__all__ = [
    'Normalizers',
    'RMISettings',
    'StreamedTerms',
    'affinity_field_loss',
    'batch_normalizers',
    'centre',
    'count_elements',
    'cross_entropy_sum',
    'downsample',
    'downsample_labels',
    'extract_regions',
    'log_volume',
    'negative_lower_bounds',
    'one_hot',
    'one_pass_objective',
    'pooled_side',
    'posterior_covariance',
    'promote',
    'region_score',
    'rmi_objective',
    'streamed_objective',
]
