"""Losses registered with MMSegmentation."""

from mmseg_rmi.losses.rmi_loss import RMILoss
from mmseg_rmi.losses.sigmoid_cross_entropy_loss import SigmoidCrossEntropyLoss

__all__ = ['RMILoss', 'SigmoidCrossEntropyLoss']
