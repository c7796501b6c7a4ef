"""What happens to predictions at test time: fusion of augmentations, dense CRF."""

from mmseg_rmi.segmentors.dense_crf import DenseCRF
from mmseg_rmi.segmentors.dense_crf_test_loop import DenseCRFTestLoop
from mmseg_rmi.segmentors.probability_tta_model import ProbabilityTTAModel

__all__ = ['DenseCRF', 'DenseCRFTestLoop', 'ProbabilityTTAModel']
