"""Pixels of a label map near a change of label.

Shapes: label maps ``H x W``, integer. Distances are Chebyshev distances, the
larger of the distances in rows and in columns: the pixels within r of a pixel are the square of
side ``2 r + 1`` around it, as with repeated erosion by a 3 x 3 square.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

BEYOND = -1  # label beyond the border of a map; no class has it


def near_other_label(labels: Tensor, distance: int) -> Tensor:
    """Mark the pixels that have a pixel of another label within a distance.

    The border of the map is not a change of label.

    Args:
        labels: ``H x W``.
        distance: in pixels, at least 1.

    Returns:
        ``H x W``, boolean.

    Example:
        >>> near_other_label(torch.tensor([[0, 0, 0, 7, 7]]), 1).int()
        tensor([[0, 0, 1, 1, 0]], dtype=torch.int32)
    """
    highest = lowest = _narrow(labels)
    for dim in (0, 1):
        highest = _sliding(torch.maximum, highest, distance, dim)
        lowest = _sliding(torch.minimum, lowest, distance, dim)
    return highest != lowest


def inner_boundary(labels: Tensor, distance: int) -> Tensor:
    """Mark the pixels that have an end of their own class's mask within a distance.

    This is ``G_d`` intersected with ``G`` in Boundary IoU, for the masks of all classes at once. A
    mask also ends where the image does, as in the code that its authors released.

    Args:
        labels: ``H x W``, at least 0.
        distance: in pixels, at least 1.

    Returns:
        ``H x W``, boolean.

    Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
        CVPR 2021.

    Example:
        >>> inner_boundary(torch.zeros(4, 5, dtype=torch.long), 1).int()
        tensor([[1, 1, 1, 1, 1],
                [1, 0, 0, 0, 1],
                [1, 0, 0, 0, 1],
                [1, 1, 1, 1, 1]], dtype=torch.int32)
    """
    framed = F.pad(_narrow(labels), (1, 1, 1, 1), value=BEYOND)
    return near_other_label(framed, distance)[1:-1, 1:-1]


def _narrow(labels: Tensor) -> Tensor:
    """Return labels as int16, a quarter of the memory to run through, or as they are if any wraps.

    Example:
        >>> _narrow(torch.tensor([[0, 255]])).dtype, _narrow(torch.tensor([[0, 65535]])).dtype
        (torch.int16, torch.int64)
    """
    extremes = torch.stack(labels.aminmax())
    return labels.short() if (extremes.short() == extremes).all() else labels


def _sliding(
    extreme: Callable[[Tensor, Tensor], Tensor], labels: Tensor, distance: int, dim: int
) -> Tensor:
    """Compute the extreme of the ``2 distance + 1`` pixels around each one, by doubling windows.

    The border pixel is repeated beyond the border; it is in the window anyway.
    """
    side, window = labels.shape[dim], 2 * distance + 1
    around = torch.arange(-distance, side + distance, device=labels.device).clamp(0, side - 1)
    result, length = labels.index_select(dim, around), 1
    while length < window:
        step = min(length, window - length)
        size = result.shape[dim] - step
        result = extreme(result.narrow(dim, 0, size), result.narrow(dim, step, size))
        length += step
    return result
