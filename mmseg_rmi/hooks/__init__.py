"""Hooks that MMSegmentation lacks: exact resumption, and an end to runs that have diverged."""

from mmseg_rmi.hooks.check_invalid_loss_hook import CheckInvalidLossHook
from mmseg_rmi.hooks.rng_state_hook import RNGStateHook

__all__ = ['CheckInvalidLossHook', 'RNGStateHook']
