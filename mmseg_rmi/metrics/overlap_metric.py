"""What metrics of label maps share: counts per image, summed over the data set, and their ratio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmseg_rmi.metrics.data_samples import read_map, read_truth


class OverlapMetric(BaseMetric):
    """Intersection over union, per class, of pixels that a subclass chooses.

    Of each image it keeps the counts of the classes in it and no map, and MMEngine drops the counts
    of images that padded a distributed test.

    Args:
        ignore_index: label of pixels that do not count.
        kwargs: of ``mmengine.evaluator.BaseMetric``: ``collect_device``, ``prefix``,
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
            ValueError: a map is missing or of another size, or a label or prediction is no class.
        """
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = read_truth(sample, classes, self.ignore_index)
            prediction = read_map(sample, 'pred_sem_seg', truth)[0].long()
            if prediction.max() >= classes:
                raise ValueError(
                    f'the model predicts class {int(prediction.max())}, and the data set has '
                    f'{classes}, from 0: num_classes of the head does not fit'
                )
            # What a model says of ignored pixels must not matter: void to both, they agree there.
            prediction = prediction.where(truth != self.ignore_index, self.ignore_index)
            self.results.append(self.count(prediction, truth, classes).cpu().to_sparse())

    @abstractmethod
    def count(self, prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
        """Count an image's pixels in intersections and unions.

        Args:
            prediction: ``H x W``, ignored where the truth is.
            truth: ``H x W``.
            classes: C.

        Returns:
            ``2 x ... x C``, int64.
        """


def overlap(counts: Sequence[Tensor]) -> Tensor:
    """IoU in percent over a data set, ``... x C``; NaN for a class that has no pixel.

    Args:
        counts: of each image, ``2 x ... x C``, sparse.

    Example:
        >>> overlap([torch.tensor([[1, 0], [2, 0]]).to_sparse()] * 2)
        tensor([50., nan], dtype=torch.float64)
    """
    intersection, union = sum(counts[1:], start=counts[0]).to_dense().double()
    return 100 * intersection / union


def count_labels(labels: Tensor, classes: int) -> Tensor:
    """How many there are of each class, ``C``, int64, of labels in any shape.

    Example:
        >>> count_labels(torch.tensor([2, 0, 2]), 4)
        tensor([1, 0, 2, 0])
    """
    return torch.bincount(labels.flatten(), minlength=classes)
