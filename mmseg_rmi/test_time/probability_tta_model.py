"""Fusion of scales and flips, for heads with softmax or sigmoids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_rmi.test_time.probabilities import (
    Activation,
    average_probabilities,
    final_head,
    resolve_activation,
)


@MODELS.register_module()
class ProbabilityTTAModel(BaseTTAModel):
    """Average the probabilities that the head was trained for over the augmentations of an image.

    These are the sigmoids of a head trained with :class:`mmseg_rmi.losses.RMILoss` or
    :class:`mmseg_rmi.losses.SigmoidCrossEntropyLoss`, and the softmax of one trained with cross
    entropy; ``SegTTAModel`` averages softmax for both. The mean also replaces ``seg_logits``, as
    the logits whose sigmoid or softmax it is, so that a metric or a dense CRF can use it.

    Args:
        module: the segmentor, or its config.
        activation: ``'sigmoid'`` or ``'softmax'``; None infers it from the losses of the head.
        **kwargs: arguments of ``mmengine.model.BaseTTAModel``.

    Raises:
        ValueError: the activation is unknown, or cannot be inferred from the losses.

    ``tools/test.py --tta`` takes it from ``tta_model = dict(type='ProbabilityTTAModel')``.

    Example:
        >>> import torch
        >>> from mmseg.models import EncoderDecoder
        >>> head = dict(
        ...     in_channels=320, channels=8, num_classes=2, loss_decode=dict(type='RMILoss')
        ... )
        >>> segmentor = EncoderDecoder(
        ...     backbone=dict(type='MobileNetV2'), decode_head=dict(type='FCNHead', **head)
        ... )
        >>> model = ProbabilityTTAModel(segmentor)
        >>> views = [
        ...     SegDataSample(seg_logits=PixelData(data=torch.tensor([[[x]], [[1.0]]])))
        ...     for x in (-2.0, 2.0)
        ... ]
        >>> (merged,) = model.merge_preds([views])
        >>> model.activation, merged.seg_logits.data.flatten(), merged.pred_sem_seg.data
        ('sigmoid', tensor([0., 1.]), tensor([[[1]]]))
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
        seg_logits = average_probabilities(
            [each.seg_logits.data for each in samples], self.activation
        )
        if len(seg_logits) == 1:
            labels = (seg_logits > final_head(self.module).threshold).long()
        else:
            labels = seg_logits.argmax(0, keepdim=True)
        merged = samples[0]
        merged.seg_logits = PixelData(data=seg_logits)
        merged.pred_sem_seg = PixelData(data=labels)
        return merged
