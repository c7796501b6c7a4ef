"""Boundary IoU of semantic segmentation."""

from __future__ import annotations

from typing import Any

from mmseg.registry import METRICS
from torch import Tensor

from mmseg_rmi.metrics.boundary_iou import boundary_overlap, check_dilation_ratio
from mmseg_rmi.metrics.overlap_metric import OverlapMetric, percent_iou


@METRICS.register_module()
class BoundaryIoUMetric(OverlapMetric):
    """Boundary IoU of each class in percent, see :func:`mmseg_rmi.metrics.boundary_iou`.

    Args:
        dilation_ratio: d as a fraction of the diagonal of the image; d is rounded, and at least 1.
        ignore_index: label to ignore.
        kwargs: arguments of ``mmengine.evaluator.BaseMetric``.

    Raises:
        ValueError: ``dilation_ratio`` is not greater than 0.

    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
        CVPR 2021.

    Example:
        >>> import torch
        >>> label = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> label[:, 2:6, 2:6] = 1
        >>> sample = dict(gt_sem_seg=dict(data=label), pred_sem_seg=dict(data=label.roll(1, 2)))
        >>> metric = BoundaryIoUMetric()
        >>> metric.dataset_meta = dict(classes=('background', 'square'))
        >>> metric.process({}, [sample])
        >>> {name: round(value, 1) for name, value in metric.evaluate(size=1).items()}
        {'boundary/mIoU': 53.2, 'boundary/IoU.background': 73.1, 'boundary/IoU.square': 33.3}
    """

    default_prefix = 'boundary'

    def __init__(
        self, dilation_ratio: float = 0.02, ignore_index: int = 255, **kwargs: Any
    ) -> None:
        super().__init__(ignore_index, **kwargs)
        check_dilation_ratio(dilation_ratio)
        self.dilation_ratio = dilation_ratio

    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Count the intersections and unions of an image's boundary regions: ``2 x C``."""
        return boundary_overlap(prediction, truth, classes, self.dilation_ratio, self.ignore_index)

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Compute Boundary IoU over the data set.

        Args:
            results: counts of each image.

        Returns:
            ``mIoU``, over the classes that have a boundary, and ``IoU.<class>``, NaN without one.
        """
        values = percent_iou(results)
        by_class = zip(self.dataset_meta['classes'], values.tolist(), strict=True)
        return {'mIoU': values.nanmean().item()} | {f'IoU.{name}': iou for name, iou in by_class}
