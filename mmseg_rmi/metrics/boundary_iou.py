"""Boundary IoU of semantic segmentation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmseg_rmi.metrics.boundaries import inner_boundary
from mmseg_rmi.metrics.overlap import LabelMaps, count_labels, iou, sum_counts, void_ignored
from mmseg_rmi.utils.checks import check_number


def boundary_iou(
    predictions: LabelMaps,
    labels: LabelMaps,
    num_classes: int,
    *,
    dilation_ratio: float = 0.02,
    ignore_index: int = 255,
) -> Tensor:
    """Compute the Boundary IoU of each class over a batch or a data set.

    With ``G_d`` the pixels within d of the contour of a class's true mask G, and P the predicted
    mask: ``|(G_d & G) & (P_d & P)| / |(G_d & G) | (P_d & P)|``, with pixels summed over all images.
    The larger an object, the less its IoU depends on the outline; Boundary IoU depends on it at any
    size. A mask also ends at the border of the image and at ignored pixels, which are removed from
    both masks.

    Args:
        predictions: ``B x H x W``, integer, or any iterable of maps ``H x W``, one per image.
        labels: as many maps of the same sizes, in ``[0, C)`` or ``ignore_index``.
        num_classes: C.
        dilation_ratio: d as a fraction of the diagonal of an image; d is rounded, and at least 1.
        ignore_index: label to ignore.

    Returns:
        ``C``, float64, in [0, 1]; NaN for a class that is in neither predictions nor labels.

    Raises:
        ValueError: maps whose sizes differ or that hold a value that is not a class, or a ratio
            that is not positive.

    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
        CVPR 2021.

    Example:
        >>> label = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> label[:, 2:6, 2:6] = 1
        >>> boundary_iou(label.roll(1, 2), label, 2)
        tensor([0.7308, 0.3333], dtype=torch.float64)
    """
    check_dilation_ratio(dilation_ratio)

    def count(prediction: Tensor, label: Tensor) -> Tensor:
        return boundary_overlap(prediction, label, num_classes, dilation_ratio, ignore_index)

    return iou(sum_counts(predictions, labels, num_classes, ignore_index, count))


def boundary_overlap(
    prediction: Tensor, label: Tensor, num_classes: int, dilation_ratio: float, ignore_index: int
) -> Tensor:
    """Count the intersections and unions of the boundary regions of an image: ``2 x C``, int64.

    Args:
        prediction: ``H x W``, int64.
        label: ``H x W``, int64.
        num_classes: C.
        dilation_ratio: as in :func:`boundary_iou`.
        ignore_index: label to ignore.
    """
    distance = max(1, round(dilation_ratio * math.hypot(*label.shape)))
    valid = label != ignore_index
    prediction = void_ignored(prediction, label, ignore_index)
    of_label, of_prediction = (
        inner_boundary(labels, distance) & valid for labels in (label, prediction)
    )
    shared = of_label & of_prediction & (prediction == label)
    intersection = count_labels(label[shared], num_classes)
    areas = count_labels(label[of_label], num_classes)
    areas += count_labels(prediction[of_prediction], num_classes)
    return torch.stack([intersection, areas - intersection])


def check_dilation_ratio(dilation_ratio: float) -> None:
    """Raise unless the ratio is a positive number."""
    check_number('dilation_ratio', dilation_ratio)
    if not dilation_ratio > 0:
        raise ValueError(f'dilation_ratio must be greater than 0, got {dilation_ratio}')
