"""Optimizer settings that MMEngine lacks."""

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)
from mmseg_rmi.optim.autocast import AutocastOptimWrapper
from mmseg_rmi.optim.weight_decay import WeightsOnlyDecayConstructor

__all__ = ['AutocastOptimWrapper', 'WeightsOnlyDecayConstructor']
