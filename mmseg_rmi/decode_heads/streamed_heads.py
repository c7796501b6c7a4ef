"""Decode heads that compute the loss from logits of low resolution.

Each is a head of MMSegmentation, or of the paper, with the same arguments, parameters and
state-dict keys; only the computation of the loss differs. See
:func:`mmseg_rmi.functional.streamed_rmi_loss` for how many logits of full resolution it holds.
"""

from collections.abc import Callable
from typing import Any

import torch
from mmseg.models.decode_heads import (
    ASPPHead,
    DepthwiseSeparableASPPHead,
    PSPHead,
    SegformerHead,
    UPerHead,
)
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_rmi.decode_heads.arguments import own_arguments
from mmseg_rmi.decode_heads.deeplab_v3_head import DeepLabV3Head
from mmseg_rmi.decode_heads.deeplab_v3_plus_head import DeepLabV3PlusHead
from mmseg_rmi.decode_heads.single_image import explaining_single_images
from mmseg_rmi.losses import RMILoss
from mmseg_rmi.utils.checks import check_number
from mmseg_rmi.utils.labels import resolve_ignore_index, squeeze_labels


class RegionLossMixin:
    """Compute the RMI loss of a decode head from its logits of low resolution.

    Put it before any head of MMSegmentation that upsamples its logits bilinearly to the labels, as
    ``BaseDecodeHead`` does: ``class MyRMIHead(RegionLossMixin, MyHead)``. Losses and gradients are
    those of the plain head, to rounding. The log shows ``loss_bce`` (or ``loss_ce``) and
    ``loss_region``, whose sum is the plain head's ``loss_rmi``, ``rmi_score`` (how much of the true
    regions the prediction explains, 0 to 1) and ``acc_seg``. A head that adds losses of its own in
    ``loss_by_feat`` is refused when the class is defined, because they would be lost; add them in
    the new class, to what ``super().loss_by_feat`` returns. Losses that a head adds in ``loss`` are
    kept.

    Raises:
        TypeError: the threshold of one channel is not a number; ``loss_decode`` is not one
            :class:`mmseg_rmi.losses.RMILoss`, or is a subclass of it with another ``forward`` but
            the same ``stream``. When a class is defined: the mixin does not come first, or losses
            would be lost. In training: the head's ``loss`` does not return the RMI loss.
        ValueError: a pixel sampler is set; it would need logits at full resolution.

    Example:
        >>> from mmengine.structures import PixelData
        >>> from mmseg.models.decode_heads import FCNHead
        >>> from mmseg.structures import SegDataSample
        >>> class RMIFCNHead(RegionLossMixin, FCNHead):
        ...     pass
        >>> head = RMIFCNHead(in_channels=8, channels=8, num_classes=3)
        >>> logits = head([torch.rand(1, 8, 8, 8)])
        >>> labels = PixelData(data=torch.zeros(1, 32, 32, dtype=torch.long))
        >>> sorted(head.loss_by_feat(logits, [SegDataSample(gt_sem_seg=labels)]))
        ['acc_seg', 'loss_bce', 'loss_region', 'rmi_score']
    """

    # Provided by the head that this is mixed into.
    loss_decode: Any
    sampler: Any
    ignore_index: int | None
    align_corners: bool
    out_channels: int
    threshold: float | None
    _stack_batch_gt: Callable[..., Tensor]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owners = [base for base in cls.__mro__ if 'loss_by_feat' in vars(base)]
        streams = owners.index(RegionLossMixin)
        for position, base in enumerate(owners):
            if issubclass(base, RegionLossMixin) or (base is BaseDecodeHead and position > streams):
                continue
            if position > streams:
                mend = f'put {base.__name__} before RegionLossMixin'
                if issubclass(base, BaseDecodeHead):
                    mend = (
                        f'stream a base of {base.__name__} that adds none of its own, and add '
                        f'its losses in {cls.__name__}.loss_by_feat to what '
                        'super().loss_by_feat returns'
                    )
                raise TypeError(
                    f'{cls.__name__} would leave out the losses of {base.__name__}.loss_by_feat: '
                    f'{mend}'
                )
            if issubclass(base, BaseDecodeHead):
                raise TypeError(
                    f'{cls.__name__} takes loss_by_feat from {base.__name__} and would not stream: '
                    f'put RegionLossMixin first, class {cls.__name__}(RegionLossMixin, ...)'
                )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        if not isinstance(self, BaseDecodeHead):
            raise TypeError(f'{name} is not a BaseDecodeHead, and only those can be streamed')
        kwargs = own_arguments(type(self), kwargs)
        kwargs.setdefault('loss_decode', dict(type='RMILoss'))
        super().__init__(*args, **kwargs)
        if not isinstance(self.loss_decode, RMILoss):
            raise TypeError(
                f'{name} streams one RMILoss, got loss_decode={self.loss_decode}: use the head '
                f"without 'RMI' in its name for other losses, or loss_decode=dict(type='RMILoss')"
            )
        for loss in type(self.loss_decode).__mro__:
            if 'stream' in vars(loss):
                break
            if added := {'forward', '__call__'} & vars(loss).keys():
                raise TypeError(
                    f'{name} would leave out what {loss.__name__}.{min(added)} adds to the '
                    "RMILoss: override stream as well, or use the head without 'RMI' in its name"
                )
        if self.out_channels == 1:
            check_number('threshold', self.threshold)
        if self.sampler is not None:
            raise ValueError(
                f'{name} has no logits at full resolution to sample from, got '
                f'sampler={type(self.sampler).__name__}: set sampler=None'
            )

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Compute the losses of a batch as the head does, and check that RMI is among them."""
        with explaining_single_images():
            losses = super().loss(*args, **kwargs)  # type: ignore[misc]
        if not any(name.endswith('loss_region') for name in losses):
            name = type(self).__name__
            raise TypeError(
                f'{name}.loss returns {", ".join(losses)} and no loss_region, so that {name} would '
                'not train with RMI: let it include what self.loss_by_feat returns'
            )
        return losses

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses from logits of low resolution.

        Args:
            seg_logits: ``B x C x H' x W'``.
            batch_data_samples: data samples with the labels, ``1 x H x W`` each.

        Returns:
            ``loss_bce`` or ``loss_ce``, ``loss_region``, ``acc_seg`` (in percent) and, unless
            lambda is 1, ``rmi_score``, scalars.
        """
        labels = squeeze_labels(self._stack_batch_gt(batch_data_samples))
        terms = self.loss_decode.stream(
            seg_logits, labels, ignore_index=self.ignore_index, align_corners=self.align_corners
        )
        valid = labels != resolve_ignore_index(self.ignore_index)
        correct = self._count_correct(seg_logits, labels, valid, terms.correct)
        settings = self.loss_decode.settings
        losses = {
            f'loss_{settings.pixel_term}': terms.total - terms.region,  # the gradient of both
            'loss_region': terms.region,
            'acc_seg': 100 * correct / valid.sum().clamp(min=1),
        }
        if settings.loss_lambda < 1:  # else there are no regions to score
            losses['rmi_score'] = terms.score
        return losses

    @torch.no_grad()
    def _count_correct(
        self, logits: Tensor, labels: Tensor, valid: Tensor, by_argmax: Tensor
    ) -> Tensor:
        """Count the valid pixels predicted correctly; in a binary map, by the head's threshold."""
        if self.out_channels > 1:
            return by_argmax
        correct = torch.zeros_like(by_argmax)
        for logit, label, counts in zip(logits.split(1), labels, valid, strict=True):
            foreground = resize(
                logit, label.shape, mode='bilinear', align_corners=self.align_corners
            )
            predicted = (foreground.sigmoid() > self.threshold)[0, 0]
            correct += ((predicted.to(label.dtype) == label) & counts).sum()
        return correct


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
