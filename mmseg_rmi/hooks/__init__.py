"""Hooks that MMSegmentation lacks: exact resumption, an end to diverged runs, memory layout."""

from mmseg_rmi.hooks.channels_last_hook import ChannelsLastHook
from mmseg_rmi.hooks.check_invalid_loss_hook import CheckInvalidLossHook
from mmseg_rmi.hooks.rng_state_hook import RNGStateHook

__all__ = ['ChannelsLastHook', 'CheckInvalidLossHook', 'RNGStateHook']
