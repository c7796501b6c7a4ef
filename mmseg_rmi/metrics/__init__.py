"""Metrics that MMSegmentation lacks: IoU by class and along boundaries, and the region score."""

from typing import TYPE_CHECKING

from mmseg_rmi.utils.lazy import import_on_demand

if TYPE_CHECKING:
    from mmseg_rmi.metrics.boundary_iou_metric import BoundaryIoUMetric
    from mmseg_rmi.metrics.classwise_iou_metric import ClasswiseIoUMetric
    from mmseg_rmi.metrics.region_mutual_information_metric import RegionMutualInformationMetric
    from mmseg_rmi.metrics.trimap_iou_metric import TrimapIoUMetric

__all__ = [
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
