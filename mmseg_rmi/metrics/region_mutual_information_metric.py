"""How much of the true regions the predicted probabilities explain, over a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.contract import promote
from mmseg_rmi.functional.settings import ACTIVATIONS
from mmseg_rmi.metrics.data_samples import read_map, read_truth
from mmseg_rmi.metrics.region_scores import region_scores
from mmseg_rmi.test_time.probabilities import Activation, to_probabilities
from mmseg_rmi.utils.checks import check_choice


@METRICS.register_module()
class RegionMutualInformationMetric(BaseMetric):
    """Region score of each class in percent, see :func:`mmseg_rmi.metrics.region_scores`.

    It is averaged over the images that contain the class.

    A class that is absent from an image has no score there, whatever the model predicts; IoU counts
    such false positives. A class that fills the image has none either with max pooling or DF 1;
    with average pooling, which counts its padding, even a constant map varies at the border. With
    test-time augmentation, ``SegTTAModel`` passes on the ``seg_logits`` of a single view,
    :class:`mmseg_rmi.test_time.ProbabilityTTAModel` those of all.

    Args:
        activation: what turns the model's logits into probabilities: ``'sigmoid'`` for a model
            trained with RMI or binary cross entropy, ``'softmax'`` for one trained with cross
            entropy. For one channel, MMSegmentation passes on a probability, which is used as is.
        region_size: as in ``RMILoss``, like the following.
        downsample: how maps are downsampled first.
        downsample_factor: DF, a single integer.
        covariance: the sum over regions, their mean, or relative to the truth's own variance.
        ridge: xi.
        ignored: whether ignored pixels are background or exclude the regions that touch them.
        ignore_index: label to ignore.
        kwargs: arguments of ``mmengine.evaluator.BaseMetric``.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: an argument has the wrong type.

    Example:
        >>> label = torch.zeros(1, 32, 32, dtype=torch.long)
        >>> label[:, 10:] = 1
        >>> logits = 50.0 * torch.cat([1 - 2 * label, 2 * label - 1])  # a perfect prediction
        >>> sample = dict(gt_sem_seg=dict(data=label), seg_logits=dict(data=logits))
        >>> metric = RegionMutualInformationMetric(activation='sigmoid')
        >>> metric.dataset_meta = dict(classes=('road', 'car'))
        >>> metric.process({}, [sample])
        >>> {name: round(value, 1) for name, value in metric.evaluate(size=1).items()}
        {'rmi/score': 100.0, 'rmi/score.road': 100.0, 'rmi/score.car': 100.0}
    """

    default_prefix = 'rmi'

    def __init__(
        self,
        activation: Activation,
        region_size: int = 3,
        downsample: str = 'avg',
        downsample_factor: int = 4,
        covariance: str = 'sum',
        ridge: float = 5e-4,
        ignored: str = 'zero',
        ignore_index: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice('activation', activation, ACTIVATIONS)
        self.activation = activation
        self.settings = RMISettings(
            region_size=region_size,
            downsample=downsample,
            downsample_factor=downsample_factor,
            covariance=covariance,
            ridge=ridge,
            ignored=ignored,
        )
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score the images of a batch.

        Args:
            data_batch: not used.
            data_samples: with ``seg_logits``, ``C x H x W`` (a probability if C = 1), and
                ``gt_sem_seg``, ``1 x H x W``.

        Raises:
            ValueError: a map is missing, too small or of another size, a label is not a class, or
                the model and the data set differ in the number of classes.
        """
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = read_truth(sample, classes, self.ignore_index)
            logits = promote(read_map(sample, 'seg_logits', truth))
            if len(logits) != classes and (len(logits), classes) != (1, 2):
                raise ValueError(
                    f'the model predicts {len(logits)} maps, but the data set has {classes} '
                    f'classes: set num_classes of the head to {classes}'
                )
            probability = to_probabilities(logits, self.activation)
            (scores,) = region_scores(
                probability[None], truth[None], self.settings, ignore_index=self.ignore_index
            )
            self.results.append(scores)

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Average the scores that are defined over images, then over classes.

        Args:
            results: scores of each image.

        Returns:
            ``score`` and ``score.<class>``, NaN for a class that is in no image; a model with one
            channel has the score of the last class only.
        """
        values = 100 * torch.stack(results).nanmean(dim=0)
        names = self.dataset_meta['classes'][-len(values) :]
        by_class = zip(names, values.tolist(), strict=True)
        return {'score': values.nanmean().item()} | {f'score.{name}': s for name, s in by_class}
