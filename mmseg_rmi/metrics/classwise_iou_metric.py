"""IoU with the values of all classes among the results, not only in the log."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from mmseg_rmi.metrics.data_samples import read_map


@METRICS.register_module()
class ClasswiseIoUMetric(IoUMetric):
    """``IoUMetric`` that also returns the values that it prints per class, in percent.

    Takes the arguments of ``mmseg.evaluation.IoUMetric``. For each of ``iou_metrics`` it adds keys
    such as ``IoU.road`` (``Dice.road``, ``Fscore.road``) to the results, and so to the JSON file of
    a test and to visualisation backends. A class that is in neither labels nor predictions is NaN,
    as in the printed table.

    Example:
        >>> import contextlib, io
        >>> import torch
        >>> label = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
        >>> prediction = torch.tensor([[[0, 0, 0, 1, 1, 1, 1, 1]]])
        >>> sample = dict(gt_sem_seg=dict(data=label), pred_sem_seg=dict(data=prediction))
        >>> metric = ClasswiseIoUMetric(prefix='all')
        >>> metric.dataset_meta = dict(classes=('road', 'car'))
        >>> metric.process({}, [sample])
        >>> with contextlib.redirect_stdout(io.StringIO()):  # the table
        ...     results = metric.evaluate(size=1)
        >>> results['all/IoU.road'], results['all/IoU.car']
        (75.0, 80.0)
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each class, or write the predictions.

        Raises:
            ValueError: the labels of an image are not of the size of its prediction.
        """
        for sample in data_samples:
            if 'gt_sem_seg' in sample and not self.format_only:
                read_map(sample, 'pred_sem_seg', sample['gt_sem_seg']['data'][0])
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turn the areas of all images into means and values per class.

        Args:
            results: intersection, union, predicted and true area of each image, ``C`` each.

        Returns:
            mmseg's means (``aAcc``, ``mIoU``, ``mAcc``, ...) and one entry per class.
        """
        means = super().compute_metrics(results)
        if self.format_only:
            return means
        areas = (sum(area) for area in zip(*results, strict=True))
        values = self.total_area_to_metrics(*areas, self.metrics, self.nan_to_num, self.beta)
        asked = [self.metrics] if isinstance(self.metrics, str) else self.metrics
        names = [metric.removeprefix('m') for metric in asked]
        return means | {
            f'{name}.{label}': round(100 * float(value), 2)
            for name in names
            for label, value in zip(self.dataset_meta['classes'], values[name], strict=True)
        }
