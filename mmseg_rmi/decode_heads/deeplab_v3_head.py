"""The decode head of DeepLabv3, as the paper trains it."""

from collections.abc import Sequence
from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_rmi.decode_heads.arguments import own_arguments
from mmseg_rmi.decode_heads.aspp import ASPP
from mmseg_rmi.decode_heads.single_image import explaining_single_images
from mmseg_rmi.utils.checks import check_integer

MOST = 2**16  # channels, or dilation rate, that a network may have


@MODELS.register_module()
class DeepLabV3Head(BaseDecodeHead):
    """ASPP, element-wise dropout and a 1x1 classifier.

    Convolutions are initialised from Kaiming's normal distribution by fan-in. Any backbone of mmseg
    or mmpretrain will do.

    Args:
        in_channels: channels of the backbone's features at ``in_index`` (the last by default), or a
            list of them with ``input_transform='resize_concat'``.
        channels: depth of the ASPP, 256 in the paper.
        num_classes: number of classes.
        dilations: rates of the ASPP, (1, 6, 12, 18) at output stride 16.
        **kwargs: passed on to ``BaseDecodeHead``: ``dropout_ratio``, ``norm_cfg``,
            ``align_corners``, ``loss_decode``, ....

    Example:
        >>> import torch
        >>> head = DeepLabV3Head(in_channels=32, channels=8, num_classes=11).eval()
        >>> head([torch.rand(1, 32, 6, 8)]).shape
        torch.Size([1, 11, 6, 8])
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        dilations: Sequence[int] = (1, 6, 12, 18),
        **kwargs: Any,
    ) -> None:
        kwargs = own_arguments(type(self), kwargs)
        if not isinstance(in_channels, (list, tuple)):
            check_integer('in_channels', in_channels, 1, MOST)
        check_integer('channels', channels, 1, MOST)
        check_integer('num_classes', num_classes, 1, MOST)
        _check_dilations(dilations)
        kwargs.setdefault('init_cfg', dict(type='Kaiming', layer='Conv2d', mode='fan_in'))
        super().__init__(in_channels, channels, num_classes=num_classes, **kwargs)
        self.aspp = ASPP(self.in_channels, channels, dilations, **self._layer_cfg)
        self.dropout = nn.Dropout(self.dropout_ratio)  # the base class drops whole channels

    @property
    def _layer_cfg(self) -> dict[str, Any]:
        return dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Compute the losses of a batch, of at least two images with batch normalisation."""
        with explaining_single_images():
            return super().loss(*args, **kwargs)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits, ``B x num_classes x h x w``, ``h x w`` that of the selected features."""
        return self.cls_seg(self.aspp(self._transform_inputs(inputs)))


def _check_dilations(dilations: Sequence[int]) -> None:
    if not isinstance(dilations, (list, tuple)) or not dilations:
        raise TypeError(f'dilations must be a list of rates such as (1, 6, 12), got {dilations!r}')
    for rate in dilations:
        check_integer('dilations', rate, 1, MOST)
