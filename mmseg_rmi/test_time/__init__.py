"""What happens to predictions at test time: fusion of augmentations, dense CRF."""

from mmseg_rmi.test_time.dense_crf import DenseCRF
from mmseg_rmi.test_time.dense_crf_test_loop import DenseCRFTestLoop
from mmseg_rmi.test_time.probability_tta_model import ProbabilityTTAModel

__all__ = ['DenseCRF', 'DenseCRFTestLoop', 'ProbabilityTTAModel']
