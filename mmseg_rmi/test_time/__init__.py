"""Predictions at test time: fusion of augmentations, and a dense CRF."""

from typing import TYPE_CHECKING

from mmseg_rmi.compat import is_mmsegmentation_installed
from mmseg_rmi.test_time.dense_crf import DenseCRF
from mmseg_rmi.utils.lazy import import_on_demand

if TYPE_CHECKING:
    from mmseg_rmi.test_time.dense_crf_test_loop import DenseCRFTestLoop
    from mmseg_rmi.test_time.probability_tta_model import ProbabilityTTAModel

__all__ = ['DenseCRF']
if is_mmsegmentation_installed():
    __all__ += ['DenseCRFTestLoop', 'ProbabilityTTAModel']

__getattr__ = import_on_demand(
    __name__,
    {
        'DenseCRFTestLoop': 'dense_crf_test_loop',
        'ProbabilityTTAModel': 'probability_tta_model',
    },
)
