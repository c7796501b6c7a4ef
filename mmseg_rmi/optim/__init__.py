"""Optimizer settings that MMEngine lacks."""

from mmseg_rmi.optim.weight_decay import WeightsOnlyDecayConstructor

__all__ = ['WeightsOnlyDecayConstructor']
