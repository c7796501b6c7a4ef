"""Label maps: their types and shapes, and which of their values are neither a class nor ignored."""

from __future__ import annotations

import torch
from torch import Tensor

INTEGER_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
INT32_RANGE = (-(2**31), 2**31 - 1)  # of an ignore_index


def squeeze_labels(labels: Tensor) -> Tensor:
    """Drop the channel of label maps ``B x 1 x H x W``, and return any others as they are.

    segmentation_models_pytorch and MONAI provide labels in that shape.

    Example:
        >>> squeeze_labels(torch.zeros(2, 1, 4, 5, dtype=torch.long)).shape
        torch.Size([2, 4, 5])
    """
    has_channel = isinstance(labels, Tensor) and labels.dim() == 4 and labels.shape[1] == 1
    return labels.squeeze(1) if has_channel else labels


def widen_labels(labels: Tensor) -> Tensor:
    """Return labels in a type wide enough that no number compared with them wraps around.

    Example:
        >>> widen_labels(torch.tensor([255], dtype=torch.uint8)) == -1
        tensor([False])
    """
    return labels if labels.dtype in (torch.int32, torch.int64) else labels.int()


def resolve_ignore_index(ignore_index: int | None) -> int:
    """Return the label to ignore; for None, one that :func:`unknown_labels` always marks.

    Example:
        >>> resolve_ignore_index(255), resolve_ignore_index(None)
        (255, -1)
    """
    return -1 if ignore_index is None else ignore_index


def unknown_labels(labels: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Mark the labels that are neither a class, from 0 to C - 1, nor to be ignored.

    Args:
        labels: any shape, integer.
        num_classes: C.
        ignore_index: label to ignore; None ignores nothing.

    Returns:
        The shape of ``labels``, boolean.

    Example:
        >>> unknown_labels(torch.tensor([-1, 0, 2, 3, 255]), 3, 255)
        tensor([ True, False, False,  True, False])
    """
    labels = widen_labels(labels)
    unknown = (labels < 0) | (labels >= num_classes)
    return unknown if ignore_index is None else unknown & (labels != ignore_index)


def describe_known_labels(num_classes: int, ignore_index: int | None) -> str:
    """Name the labels that :func:`unknown_labels` does not mark, for the text of an error.

    Example:
        >>> describe_known_labels(3, 255)
        '0 to 2 or ignore_index=255'
    """
    classes = f'0 to {num_classes - 1}'
    if ignore_index is None:
        return f'{classes} (ignore_index=None: nothing is ignored)'
    return f'{classes} or ignore_index={ignore_index}'
