"""The memory layout preferred by convolutions on CPUs, and in half precision on GPUs."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store the weights of the model in channels-last layout; features follow it.

    Nothing else changes: shapes stay ``B x C x H x W``, and values are the same to rounding.

    Example:
        >>> custom_hooks = [dict(type='ChannelsLastHook')]
    """

    def before_train(self, runner: Runner) -> None:
        """Change the layout of the weights."""
        runner.model.to(memory_format=torch.channels_last)

    before_test = before_train
