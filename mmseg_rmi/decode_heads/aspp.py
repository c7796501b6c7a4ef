"""Atrous spatial pyramid pooling, as in the paper's networks."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.aspp_head import ASPPModule
from torch import Tensor, nn


class ASPP(nn.Module):
    """Parallel convolutions of several rates and image pooling, concatenated and projected.

    Unlike ``mmseg.models.ASPPHead``, which projects with a 3x3 convolution, this one projects with
    1x1, as its source does.

    Args:
        in_channels: channels of the features.
        channels: channels of every branch and of the output.
        dilations: one branch each: a 1x1 convolution for rate 1, a dilated 3x3 one for the others.
        layer_cfg: ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` of all ``mmcv.cnn.ConvModule``.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(
        self, in_channels: int, channels: int, dilations: Sequence[int], **layer_cfg: Any
    ) -> None:
        super().__init__()
        self.branches = ASPPModule(dilations, in_channels, channels, **layer_cfg)
        self.image_pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, channels, 1, **layer_cfg)
        )
        self.projection = ConvModule((len(dilations) + 1) * channels, channels, 1, **layer_cfg)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``B x in_channels x h x w`` to ``B x channels x h x w``."""
        image_level = self.image_pooling(features).expand(-1, -1, *features.shape[2:])
        return self.projection(torch.cat([*self.branches(features), image_level], dim=1))
