"""The mIoU near boundaries, as a curve over the width of the band."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_rmi.functional.boundaries import near_other_label
from mmseg_rmi.metrics.overlap_metric import OverlapMetric, count_labels, overlap
from mmseg_rmi.utils.checks import check_integer


@METRICS.register_module()
class TrimapIoUMetric(OverlapMetric):
    """mIoU of the pixels within w of a true boundary, in percent, for several w.

    A pixel is within w of a boundary if one of another true label is no more than w rows and no
    more than w columns away, so that w = 1 are the pixels that touch it. Ignored pixels are a label
    of their own, never scored, but a boundary to whatever they touch: on PASCAL VOC they are the
    ring around each object, and no two classes meet without. The border of the image is none.

    Args:
        widths: the widths w of the bands, in pixels, ascending.
        ignore_index: label of pixels that do not count.
        kwargs: of ``mmengine.evaluator.BaseMetric``.

    Raises:
        ValueError: ``widths`` is empty, not ascending, or holds a number below 1.
        TypeError: ``widths`` is no list, or holds what is no integer.

    Source: Kohli et al., "Robust higher order potentials for enforcing label consistency", IJCV
        2009; as drawn by Chen et al., "DeepLab", TPAMI 2018.
    """

    default_prefix = 'trimap'

    def __init__(
        self,
        widths: Sequence[int] = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40),
        ignore_index: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(ignore_index, **kwargs)
        if not isinstance(widths, Sequence):
            raise TypeError(f'widths must be a list of integers, got {widths!r}')
        for width in widths:
            check_integer('each of widths', width, 1)
        if not widths or any(one >= next_ for one, next_ in pairwise(widths)):
            raise ValueError(f'widths must be one or more integers, ascending; got {widths!r}')
        self.widths = tuple(widths)

    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Intersections and unions of an image, band by band: ``2 x len(widths) x C``."""
        bands = len(self.widths)
        # The place of the narrowest band that holds the pixel.
        band = torch.stack([~near_other_label(truth, width) for width in self.widths]).sum(dim=0)
        scored = (band < bands) & (truth != self.ignore_index)
        band, prediction, truth = band[scored], prediction[scored], truth[scored]

        def count_up(labels: Tensor, band: Tensor) -> Tensor:
            counts = count_labels(band * classes + labels, bands * classes)
            return counts.reshape(bands, classes).cumsum(dim=0)

        hit = prediction == truth
        intersection = count_up(truth[hit], band[hit])
        areas = count_up(truth, band) + count_up(prediction, band)
        return torch.stack([intersection, areas - intersection])

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Average over the classes that have a pixel in a band.

        Args:
            results: counts of each image.

        Returns:
            ``mIoU.<width>`` of each width.
        """
        values = overlap(results).nanmean(dim=1).tolist()
        return {f'mIoU.{width}': iou for width, iou in zip(self.widths, values, strict=True)}
