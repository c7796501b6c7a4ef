"""The decode head of DeepLabv3+, as the paper trains it."""

from collections.abc import Sequence
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor

from mmseg_rmi.decode_heads.decoder import Decoder
from mmseg_rmi.decode_heads.deeplab_v3_head import MOST, DeepLabV3Head
from mmseg_rmi.utils.checks import check_integer


@MODELS.register_module()
class DeepLabV3PlusHead(DeepLabV3Head):
    """ASPP, dropout, the decoder, dropout and a 1x1 classifier.

    Args:
        c1_in_channels: channels of the backbone's first features, the low-level ones.
        c1_channels: channels they are reduced to, 48 in the paper.
        **kwargs: passed on to :class:`DeepLabV3Head`.

    Example:
        >>> import torch
        >>> head = DeepLabV3PlusHead(
        ...     in_channels=32, channels=8, c1_in_channels=16, c1_channels=4, num_classes=11
        ... ).eval()
        >>> head([torch.rand(1, 16, 24, 32), torch.rand(1, 32, 6, 8)]).shape
        torch.Size([1, 11, 24, 32])
    """

    def __init__(self, *, c1_in_channels: int, c1_channels: int, **kwargs: Any) -> None:
        check_integer('c1_in_channels', c1_in_channels, 1, MOST)
        check_integer('c1_channels', c1_channels, 1, MOST)
        super().__init__(**kwargs)
        self.decoder = Decoder(
            c1_in_channels, c1_channels, self.channels, self.align_corners, **self._layer_cfg
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits, ``B x num_classes x h x w``, ``h x w`` that of the first features."""
        coarse = self.dropout(self.aspp(self._transform_inputs(inputs)))
        return self.cls_seg(self.decoder(inputs[0], coarse))
