"""Metrics that MMSegmentation lacks: IoU by class and along boundaries, and the region score."""

from mmseg_rmi.metrics.classwise_iou_metric import ClasswiseIoUMetric

__all__ = ['ClasswiseIoUMetric']
