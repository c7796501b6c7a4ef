"""The decode heads of the paper's two networks."""

from mmseg_rmi.decode_heads.deeplab_v3_head import DeepLabV3Head
from mmseg_rmi.decode_heads.deeplab_v3_plus_head import DeepLabV3PlusHead

__all__ = ['DeepLabV3Head', 'DeepLabV3PlusHead']
