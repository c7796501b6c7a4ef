"""Fusion of scales and flips for heads of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_rmi.segmentors.probabilities import (
    Activation,
    final_head,
    from_probabilities,
    resolve_activation,
    to_probabilities,
)


@MODELS.register_module()
class ProbabilityTTAModel(BaseTTAModel):
    """Averages, over the augmentations of an image, the probabilities the head was trained to give.

    Those are the sigmoids of a head trained with :class:`mmseg_rmi.losses.RMILoss` or
    :class:`mmseg_rmi.losses.SigmoidCrossEntropyLoss`, and the softmax of one trained with cross
    entropy; ``SegTTAModel`` averages softmax for both. The mean also replaces ``seg_logits``, as
    logits whose sigmoid or softmax it is, so that what follows (a metric, a dense CRF) sees it.

    Args:
        module: the segmentor, or its config.
        activation: ``'sigmoid'`` or ``'softmax'``; None finds it from the losses of the head.
        **kwargs: as of ``mmengine.model.BaseTTAModel``.

    Raises:
        ValueError: the activation is unknown, or cannot be found from the losses.

    Example, in a config that ``tools/test.py --tta`` is given:
        >>> tta_model = dict(type='ProbabilityTTAModel')
    """

    def __init__(self, module: Any, activation: Activation | None = None, **kwargs: Any) -> None:
        super().__init__(module, **kwargs)
        self.activation = resolve_activation(activation, self.module)

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[SegDataSample]]
    ) -> list[SegDataSample]:
        """Merge the predictions of each image, made at its original size, into one."""
        return [self._merge(samples) for samples in data_samples_list]

    def _merge(self, samples: Sequence[SegDataSample]) -> SegDataSample:
        scores = (to_probabilities(each.seg_logits.data, self.activation) for each in samples)
        mean = reduce(torch.add, scores) / len(samples)
        if len(mean) == 1:
            labels = (mean > final_head(self.module).threshold).long()
        else:
            labels = mean.argmax(0, keepdim=True)
        merged = samples[0]
        merged.seg_logits = PixelData(data=from_probabilities(mean, self.activation))
        merged.pred_sem_seg = PixelData(data=labels)
        return merged
