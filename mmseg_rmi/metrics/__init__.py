"""Metrics of structure: IoU along boundaries, and region scores.

The functions, and the module ``boundaries``, need PyTorch alone. The classes, which are the same
metrics for the evaluators of MMSegmentation, need MMSegmentation.
"""

from typing import TYPE_CHECKING

from mmseg_rmi.compat import is_mmsegmentation_installed
from mmseg_rmi.metrics.boundary_iou import boundary_iou
from mmseg_rmi.metrics.region_scores import region_scores
from mmseg_rmi.metrics.trimap_iou import trimap_iou
from mmseg_rmi.utils.lazy import import_on_demand

if TYPE_CHECKING:
    from mmseg_rmi.metrics.boundary_iou_metric import BoundaryIoUMetric
    from mmseg_rmi.metrics.classwise_iou_metric import ClasswiseIoUMetric
    from mmseg_rmi.metrics.region_mutual_information_metric import RegionMutualInformationMetric
    from mmseg_rmi.metrics.trimap_iou_metric import TrimapIoUMetric

__all__ = ['boundary_iou', 'region_scores', 'trimap_iou']
if is_mmsegmentation_installed():
    __all__ += [
        'BoundaryIoUMetric',
        'ClasswiseIoUMetric',
        'RegionMutualInformationMetric',
        'TrimapIoUMetric',
    ]

__getattr__ = import_on_demand(
    __name__,
    {
        'BoundaryIoUMetric': 'boundary_iou_metric',
        'ClasswiseIoUMetric': 'classwise_iou_metric',
        'RegionMutualInformationMetric': 'region_mutual_information_metric',
        'TrimapIoUMetric': 'trimap_iou_metric',
    },
)
