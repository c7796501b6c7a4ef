"""Boundary IoU of semantic segmentation."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_rmi.functional.boundaries import inner_boundary
from mmseg_rmi.metrics.overlap_metric import OverlapMetric, count_labels, overlap
from mmseg_rmi.utils.checks import check_number


@METRICS.register_module()
class BoundaryIoUMetric(OverlapMetric):
    """Boundary IoU: how well the outlines of the classes agree, in percent.

    With ``G_d`` the pixels within d of the contour of a class's true mask G, and P the predicted
    one, ``|(G_d & G) & (P_d & P)| / |(G_d & G) | (P_d & P)|``, pixels summed over the data set. The
    larger an object, the less IoU tells of its outline; this does at any size.

    A mask ends at the border of the image too, and at ignored pixels, which are taken from both
    masks: whatever was predicted there, a prediction that is right elsewhere scores 100.

    Args:
        dilation_ratio: d as a part of the diagonal of the image; d is rounded, and at least 1.
        ignore_index: label of pixels that do not count.
        kwargs: of ``mmengine.evaluator.BaseMetric``.

    Raises:
        ValueError: ``dilation_ratio`` is not greater than 0.

    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
        CVPR 2021.
    """

    default_prefix = 'boundary'

    def __init__(
        self, dilation_ratio: float = 0.02, ignore_index: int = 255, **kwargs: Any
    ) -> None:
        super().__init__(ignore_index, **kwargs)
        check_number('dilation_ratio', dilation_ratio)
        if not dilation_ratio > 0:
            raise ValueError(f'dilation_ratio must be greater than 0, got {dilation_ratio}')
        self.dilation_ratio = dilation_ratio

    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Intersections and unions of the boundary regions of an image: ``2 x C``."""
        distance = max(1, round(self.dilation_ratio * math.hypot(*truth.shape)))
        valid = truth != self.ignore_index
        of_truth, of_prediction = (
            inner_boundary(labels, distance) & valid for labels in (truth, prediction)
        )
        shared = of_truth & of_prediction & (prediction == truth)
        intersection = count_labels(truth[shared], classes)
        areas = count_labels(truth[of_truth], classes) + count_labels(
            prediction[of_prediction], classes
        )
        return torch.stack([intersection, areas - intersection])

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Boundary IoU over the data set.

        Args:
            results: counts of each image.

        Returns:
            ``mIoU``, over the classes that have any boundary, and ``IoU.<class>``, NaN for one that
            has none.
        """
        values = overlap(results)
        by_class = zip(self.dataset_meta['classes'], values.tolist(), strict=True)
        return {'mIoU': values.nanmean().item()} | {f'IoU.{name}': iou for name, iou in by_class}
