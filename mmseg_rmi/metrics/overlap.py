"""Pixel counts of label maps, image by image, and the intersection over union of their sum.

Shapes: label maps ``H x W``, C classes; counts ``2 x ... x C``, intersections and then unions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from mmseg_rmi.utils.checks import check_integer
from mmseg_rmi.utils.labels import (
    INT32_RANGE,
    INTEGER_DTYPES,
    describe_known_labels,
    unknown_labels,
)

LabelMaps = Iterable[Tensor]  # a tensor B x H x W, or maps H x W of any sizes, one after another
MOST_CLASSES = 2**16  # counts are kept of each
MISSING: Any = object()  # where one of two iterables has ended
Count = Callable[[Tensor, Tensor], Tensor]


def count_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class: ``C``, int64, of labels in any shape.

    Example:
        >>> count_labels(torch.tensor([2, 0, 2]), 4)
        tensor([1, 0, 2, 0])
    """
    return torch.bincount(labels.flatten(), minlength=num_classes)


def sum_counts(
    predictions: LabelMaps, labels: LabelMaps, num_classes: int, ignore_index: int, count: Count
) -> Tensor:
    """Sum the counts of pairs of label maps, each checked first.

    Raises:
        ValueError: maps of another shape or number than their labels, a value that is not a class,
            or no maps at all.
        TypeError: maps that are not integer tensors, or numbers that are not integers.
    """
    check_integer('num_classes', num_classes, 1, MOST_CLASSES)
    check_integer('ignore_index', ignore_index, *INT32_RANGE)
    for name, maps in (('predictions', predictions), ('labels', labels)):
        _check_maps(name, maps)
    total = None
    for prediction, label in zip_longest(predictions, labels, fillvalue=MISSING):
        if prediction is MISSING or label is MISSING:
            raise ValueError('predictions and labels must be equally many, and one ended early')
        check_label_map('predictions', prediction, num_classes, ignore_index)
        check_label_map('labels', label, num_classes, ignore_index)
        if prediction.shape != label.shape:
            raise ValueError(
                f'predictions are {tuple(prediction.shape)} where labels are {tuple(label.shape)}: '
                'resize predictions to the label maps'
            )
        _check_scored(prediction[label != ignore_index], num_classes)
        counts = count(prediction.long(), label.long())
        total = counts if total is None else total + counts
    if total is None:
        raise ValueError('predictions and labels hold no map to score')
    return total


def iou(counts: Tensor) -> Tensor:
    """Compute intersection over union, ``... x C``, float64; NaN for a class without pixels.

    Args:
        counts: ``2 x ... x C``, summed over images.

    Example:
        >>> iou(torch.tensor([[1, 0], [2, 0]]))
        tensor([0.5000,    nan], dtype=torch.float64)
    """
    intersection, union = counts.double()
    return intersection / union


def void_ignored(prediction: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    """Set a prediction to ``ignore_index`` where the label is, so that it does not matter there."""
    return prediction.where(label != ignore_index, ignore_index)


def check_label_map(name: str, labels: Any, num_classes: int, ignore_index: int) -> None:
    """Raise unless this is one map of class indices."""
    if not isinstance(labels, Tensor):
        raise TypeError(f'{name} must be tensors H x W, got {type(labels).__name__}')
    if labels.dtype not in INTEGER_DTYPES:
        raise TypeError(f'{name} must be integer class indices, got {labels.dtype}: use .long()')
    if labels.dim() != 2:
        raise ValueError(
            f'{name} must be maps H x W, as in a tensor B x H x W, got one of shape '
            f'{tuple(labels.shape)}: take the argmax over channels first'
        )
    if labels.numel() == 0:
        raise ValueError(f'{name} of shape {tuple(labels.shape)} are empty')
    unknown = unknown_labels(labels, num_classes, ignore_index)
    if unknown.any():
        raise ValueError(
            f'{name} hold {labels[unknown][0].item()}: expected '
            f'{describe_known_labels(num_classes, ignore_index)}'
        )


def _check_scored(predictions: Tensor, num_classes: int) -> None:
    """Raise unless pixels with a true class are predicted as one."""
    unknown = unknown_labels(predictions, num_classes, None)
    if unknown.any():
        raise ValueError(
            f'predictions hold {predictions[unknown][0].item()} where labels are not ignored: '
            f'expected 0 to {num_classes - 1} there'
        )


def _check_maps(name: str, maps: object) -> None:
    if not isinstance(maps, Iterable) or isinstance(maps, str):
        raise TypeError(
            f'{name} must be a tensor B x H x W or a list of maps, got {type(maps).__name__}'
        )
    if isinstance(maps, Tensor) and maps.dim() != 3:
        raise ValueError(
            f'{name} must be maps H x W, as in a tensor B x H x W, got one of shape '
            f'{tuple(maps.shape)}: take the argmax over channels first'
        )
