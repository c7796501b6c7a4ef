"""The decode heads of the paper's two networks, and heads that stream their RMI loss."""

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)
from mmseg_rmi.decode_heads.deeplab_v3_head import DeepLabV3Head
from mmseg_rmi.decode_heads.deeplab_v3_plus_head import DeepLabV3PlusHead
from mmseg_rmi.decode_heads.streamed_heads import (
    RegionLossMixin,
    RMIASPPHead,
    RMIDeepLabV3Head,
    RMIDeepLabV3PlusHead,
    RMIDepthwiseSeparableASPPHead,
    RMIPSPHead,
    RMISegformerHead,
    RMIUPerHead,
)

__all__ = [
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'RMIASPPHead',
    'RMIDeepLabV3Head',
    'RMIDeepLabV3PlusHead',
    'RMIDepthwiseSeparableASPPHead',
    'RMIPSPHead',
    'RMISegformerHead',
    'RMIUPerHead',
    'RegionLossMixin',
]
