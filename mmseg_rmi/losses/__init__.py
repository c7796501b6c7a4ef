"""Losses registered with MMSegmentation."""

from mmseg_rmi.losses.affinity_field_loss import AffinityFieldLoss
from mmseg_rmi.losses.rmi_loss import RMILoss
from mmseg_rmi.losses.sigmoid_cross_entropy_loss import SigmoidCrossEntropyLoss

__all__ = ['AffinityFieldLoss', 'RMILoss', 'SigmoidCrossEntropyLoss']
