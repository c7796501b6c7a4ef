"""Hooks: whole checkpoints that fit, exact resumption, diverged runs, region warm-up, logging."""

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)
from mmseg_rmi.hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from mmseg_rmi.hooks.channels_last_hook import ChannelsLastHook
from mmseg_rmi.hooks.check_invalid_loss_hook import CheckInvalidLossHook
from mmseg_rmi.hooks.check_processes_hook import CheckProcessesHook
from mmseg_rmi.hooks.check_weights_hook import CheckWeightsHook
from mmseg_rmi.hooks.keep_images_hook import KeepImagesHook
from mmseg_rmi.hooks.main_process_logger_hook import MainProcessLoggerHook
from mmseg_rmi.hooks.region_term_warm_up_hook import RegionTermWarmUpHook
from mmseg_rmi.hooks.resumed_validation_hook import ResumedValidationHook
from mmseg_rmi.hooks.rng_state_hook import RNGStateHook

__all__ = [
    'AtomicCheckpointHook',
    'ChannelsLastHook',
    'CheckInvalidLossHook',
    'CheckProcessesHook',
    'CheckWeightsHook',
    'KeepImagesHook',
    'MainProcessLoggerHook',
    'RNGStateHook',
    'RegionTermWarmUpHook',
    'ResumedValidationHook',
]
