"""Metrics that MMSegmentation lacks: IoU by class and along boundaries, and the region score."""

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
