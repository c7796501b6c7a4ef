"""The decoder that DeepLabv3+ adds to DeepLabv3."""

from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.utils import resize
from torch import Tensor, nn


class Decoder(nn.Module):
    """Refine upsampled coarse features with reduced low-level ones, by two 3x3 convolutions.

    Unlike in ``mmseg.models.DepthwiseSeparableASPPHead``, the convolutions are plain, as in the
    networks of the paper.

    Args:
        c1_in_channels: channels of the low-level features.
        c1_channels: channels they are reduced to.
        channels: channels of the coarse features and of the output.
        align_corners: of the upsampling, see ``torch.nn.functional.interpolate``.
        layer_cfg: ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` of all ``mmcv.cnn.ConvModule``.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", 2018.
    """

    def __init__(
        self,
        c1_in_channels: int,
        c1_channels: int,
        channels: int,
        align_corners: bool,
        **layer_cfg: Any,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.reduction = ConvModule(c1_in_channels, c1_channels, 1, **layer_cfg)
        self.fusion = nn.Sequential(
            ConvModule(channels + c1_channels, channels, 3, padding=1, **layer_cfg),
            ConvModule(channels, channels, 3, padding=1, **layer_cfg),
        )

    def forward(self, low_level: Tensor, coarse: Tensor) -> Tensor:
        """Fuse ``B x c1_in_channels x H' x W'`` and ``B x channels x h x w``, at ``H' x W'``."""
        low_level = self.reduction(low_level)
        coarse = resize(
            coarse,
            size=low_level.shape[2:],
            mode='bilinear',
            align_corners=self.align_corners,
            warning=False,
        )
        return self.fusion(torch.cat([coarse, low_level], dim=1))
