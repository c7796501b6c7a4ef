"""Decode heads that never hold the batch's logits at full resolution.

Each is an MMSegmentation head, or one of the paper's, with the same arguments, parameters and
state-dict keys; only the way to the loss differs.
"""

from collections.abc import Callable
from typing import Any

from mmseg.models.decode_heads import (
    ASPPHead,
    DepthwiseSeparableASPPHead,
    PSPHead,
    SegformerHead,
    UPerHead,
)
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_rmi.decode_heads.deeplab_v3_head import DeepLabV3Head
from mmseg_rmi.decode_heads.deeplab_v3_plus_head import DeepLabV3PlusHead
from mmseg_rmi.losses import RMILoss
from mmseg_rmi.losses.validation import resolve_ignore_index


class RegionLossMixin:
    """Streams the RMI loss of a decode head image by image.

    Put it before any head of MMSegmentation that up-samples its logits bilinearly to the labels, as
    ``BaseDecodeHead`` does: ``class MyRMIHead(RegionLossMixin, MyHead)``. The losses and gradients
    are those of the plain head, to rounding. The log shows ``loss_bce`` and ``loss_region``, whose
    sum is the plain head's ``loss_rmi``, ``rmi_score`` (how much of the true regions the prediction
    explains, 0 to 1) and ``acc_seg``.

    Raises:
        TypeError: ``loss_decode`` is not one :class:`mmseg_rmi.losses.RMILoss`.
        ValueError: a pixel sampler is set; it would need logits at full resolution.
    """

    # of the head that it is mixed into
    loss_decode: Any
    sampler: Any
    ignore_index: int | None
    align_corners: bool
    _stack_batch_gt: Callable[..., Tensor]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault('loss_decode', dict(type='RMILoss'))
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        if not isinstance(self.loss_decode, RMILoss):
            raise TypeError(
                f'{name} streams one RMILoss, got loss_decode={self.loss_decode}: use the head '
                f"without 'RMI' in its name for other losses, or loss_decode=dict(type='RMILoss')"
            )
        if self.sampler is not None:
            raise ValueError(
                f'{name} has no logits at full resolution to sample from, got '
                f'sampler={type(self.sampler).__name__}: set sampler=None'
            )

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses from logits of low resolution.

        Args:
            seg_logits: ``B x C x H' x W'``.
            batch_data_samples: hold the labels, ``1 x H x W`` each.

        Returns:
            ``loss_bce``, ``loss_region``, ``acc_seg`` (in percent) and, unless lambda is 1,
            ``rmi_score``, scalars.
        """
        labels = self._stack_batch_gt(batch_data_samples)
        terms = self.loss_decode.stream(
            seg_logits, labels, ignore_index=self.ignore_index, align_corners=self.align_corners
        )
        valid = (labels != resolve_ignore_index(self.ignore_index)).sum().clamp(min=1)
        losses = dict(
            loss_bce=terms.total - terms.region,  # carries the gradient of both
            loss_region=terms.region,
            acc_seg=100 * terms.correct / valid,
        )
        if self.loss_decode.settings.loss_lambda < 1:  # else there are no regions to score
            losses['rmi_score'] = terms.score
        return losses


@MODELS.register_module()
class RMIDeepLabV3Head(RegionLossMixin, DeepLabV3Head):
    """:class:`mmseg_rmi.decode_heads.DeepLabV3Head` with a streamed RMI loss."""


@MODELS.register_module()
class RMIDeepLabV3PlusHead(RegionLossMixin, DeepLabV3PlusHead):
    """:class:`mmseg_rmi.decode_heads.DeepLabV3PlusHead` with a streamed RMI loss."""


@MODELS.register_module()
class RMIASPPHead(RegionLossMixin, ASPPHead):
    """``ASPPHead`` of MMSegmentation with a streamed RMI loss."""


@MODELS.register_module()
class RMIDepthwiseSeparableASPPHead(RegionLossMixin, DepthwiseSeparableASPPHead):
    """``DepthwiseSeparableASPPHead`` of MMSegmentation with a streamed RMI loss."""


@MODELS.register_module()
class RMIPSPHead(RegionLossMixin, PSPHead):
    """``PSPHead`` of MMSegmentation with a streamed RMI loss."""


@MODELS.register_module()
class RMIUPerHead(RegionLossMixin, UPerHead):
    """``UPerHead`` of MMSegmentation with a streamed RMI loss."""


@MODELS.register_module()
class RMISegformerHead(RegionLossMixin, SegformerHead):
    """``SegformerHead`` of MMSegmentation with a streamed RMI loss."""
