"""Base class of metrics that are ratios of pixel counts, summed over images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmseg_rmi.metrics.data_samples import read_map, read_truth
from mmseg_rmi.metrics.overlap import iou


class OverlapMetric(BaseMetric):
    """Intersection over union of each class, over pixels that a subclass chooses.

    For each image it keeps the counts of the classes present, and no map; MMEngine drops the counts
    of images that pad a distributed test.

    Args:
        ignore_index: label to ignore.
        kwargs: arguments of ``mmengine.evaluator.BaseMetric``: ``collect_device``, ``prefix``,
            ``collect_dir``.
    """

    def __init__(self, ignore_index: int = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: not used.
            data_samples: with ``pred_sem_seg`` and ``gt_sem_seg``, ``1 x H x W`` each.

        Raises:
            ValueError: a map is missing or of another size, or a label or prediction is not a
                class.
        """
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = read_truth(sample, classes, self.ignore_index)
            prediction = read_map(sample, 'pred_sem_seg', truth)[0].long()
            if prediction.max() >= classes:
                raise ValueError(
                    f'the model predicts class {int(prediction.max())}, but the data set has '
                    f'classes 0 to {classes - 1}: set num_classes of the head to {classes}'
                )
            self.results.append(self.count(prediction, truth, classes).cpu().to_sparse())

    @abstractmethod
    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Count the pixels of an image's intersections and unions.

        Args:
            prediction: ``H x W``, int64.
            truth: ``H x W``, int64.
            classes: C.

        Returns:
            ``2 x ... x C``, int64.
        """


def percent_iou(results: Sequence[Tensor]) -> Tensor:
    """Compute the IoU of a data set in percent, ``... x C``, from sparse counts of its images."""
    return 100 * iou(sum(results[1:], start=results[0]).to_dense())
