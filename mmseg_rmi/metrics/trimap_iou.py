"""IoU near boundaries, as a curve over the width of the band."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from mmseg_rmi.metrics.boundaries import near_other_label
from mmseg_rmi.metrics.overlap import LabelMaps, count_labels, iou, sum_counts, void_ignored
from mmseg_rmi.utils.checks import check_integer

WIDTHS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40)


def trimap_iou(
    predictions: LabelMaps,
    labels: LabelMaps,
    num_classes: int,
    *,
    widths: Sequence[int] = WIDTHS,
    ignore_index: int = 255,
) -> Tensor:
    """Compute the IoU of each class among the pixels within w of a true boundary, for several w.

    A pixel is within w of a boundary if a pixel of another true label is at most w rows and at most
    w columns away, so that w = 1 are the pixels that touch a boundary. Ignored pixels are never
    scored, but have a label of their own, and so a boundary with whatever they touch: on PASCAL VOC
    they surround each object, and classes never meet directly. The border of the image is not a
    boundary.

    Args:
        predictions: ``B x H x W``, integer, or any iterable of maps ``H x W``, one per image.
        labels: as many maps of the same sizes, in ``[0, C)`` or ``ignore_index``.
        num_classes: C.
        widths: the widths w of the bands, in pixels, ascending.
        ignore_index: label to ignore.

    Returns:
        ``len(widths) x C``, float64, in [0, 1]; NaN for a class without pixels in the band.

    Raises:
        ValueError: maps whose sizes differ or that hold a value that is not a class, or widths that
            are empty, not ascending or below 1.
        TypeError: widths that are not integers.

    Source: Kohli et al., "Robust higher order potentials for enforcing label consistency", IJCV
        2009; as drawn by Chen et al., "DeepLab", TPAMI 2018.

    Example:
        >>> label = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
        >>> prediction = torch.tensor([[[1, 0, 0, 1, 1, 1, 1, 1]]])
        >>> trimap_iou(prediction, label, 2, widths=[1, 3])
        tensor([[0.0000, 0.5000],
                [0.6667, 0.7500]], dtype=torch.float64)
    """
    check_widths(widths)

    def count(prediction: Tensor, label: Tensor) -> Tensor:
        return trimap_overlap(prediction, label, num_classes, widths, ignore_index)

    return iou(sum_counts(predictions, labels, num_classes, ignore_index, count))


def trimap_overlap(
    prediction: Tensor, label: Tensor, num_classes: int, widths: Sequence[int], ignore_index: int
) -> Tensor:
    """Count an image's intersections and unions, band by band: ``2 x len(widths) x C``, int64.

    Args:
        prediction: ``H x W``, int64.
        label: ``H x W``, int64.
        num_classes: C.
        widths: as in :func:`trimap_iou`.
        ignore_index: label to ignore.
    """
    bands = len(widths)
    # Index of the narrowest band that contains the pixel.
    band = torch.stack([~near_other_label(label, width) for width in widths]).sum(dim=0)
    scored = (band < bands) & (label != ignore_index)
    prediction = void_ignored(prediction, label, ignore_index)
    band, prediction, label = band[scored], prediction[scored], label[scored]

    def count_up(labels: Tensor, band: Tensor) -> Tensor:
        counts = count_labels(band * num_classes + labels, bands * num_classes)
        return counts.reshape(bands, num_classes).cumsum(dim=0)

    hit = prediction == label
    intersection = count_up(label[hit], band[hit])
    areas = count_up(label, band) + count_up(prediction, band)
    return torch.stack([intersection, areas - intersection])


def check_widths(widths: Sequence[int]) -> None:
    """Raise unless these are widths of bands, ascending."""
    if not isinstance(widths, Sequence):
        raise TypeError(f'widths must be a list of integers, got {widths!r}')
    for width in widths:
        check_integer('each of widths', width, 1)
    if not widths or any(one >= next_ for one, next_ in pairwise(widths)):
        raise ValueError(f'widths must be one or more integers, ascending; got {widths!r}')
