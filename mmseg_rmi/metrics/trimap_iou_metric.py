"""The mIoU near boundaries, as a curve over the width of the band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg.registry import METRICS
from torch import Tensor

from mmseg_rmi.metrics.overlap_metric import OverlapMetric, percent_iou
from mmseg_rmi.metrics.trimap_iou import WIDTHS, check_widths, trimap_overlap


@METRICS.register_module()
class TrimapIoUMetric(OverlapMetric):
    """mIoU near true boundaries in percent, see :func:`mmseg_rmi.metrics.trimap_iou`.

    Args:
        widths: the widths w of the bands, in pixels, ascending.
        ignore_index: label to ignore.
        kwargs: arguments of ``mmengine.evaluator.BaseMetric``.

    Raises:
        ValueError: ``widths`` is empty, not ascending, or holds a number below 1.
        TypeError: ``widths`` is not a list of integers.

    Source: Kohli et al., "Robust higher order potentials for enforcing label consistency", IJCV
        2009; as drawn by Chen et al., "DeepLab", TPAMI 2018.

    Example:
        >>> import torch
        >>> label = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
        >>> prediction = torch.tensor([[[0, 0, 0, 1, 1, 1, 1, 1]]])
        >>> sample = dict(gt_sem_seg=dict(data=label), pred_sem_seg=dict(data=prediction))
        >>> metric = TrimapIoUMetric(widths=(1, 3))
        >>> metric.dataset_meta = dict(classes=('road', 'car'))
        >>> metric.process({}, [sample])
        >>> {name: round(value, 1) for name, value in metric.evaluate(size=1).items()}
        {'trimap/mIoU.1': 25.0, 'trimap/mIoU.3': 70.8}
    """

    default_prefix = 'trimap'

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        ignore_index: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(ignore_index, **kwargs)
        check_widths(widths)
        self.widths = tuple(widths)

    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Count an image's intersections and unions, band by band: ``2 x len(widths) x C``."""
        return trimap_overlap(prediction, truth, classes, self.widths, self.ignore_index)

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Average over the classes that have pixels in a band.

        Args:
            results: counts of each image.

        Returns:
            ``mIoU.<width>`` for each width.
        """
        values = percent_iou(results).nanmean(dim=1).tolist()
        return {f'mIoU.{width}': iou for width, iou in zip(self.widths, values, strict=True)}
