"""Train in the memory layout that convolutions on CPUs, and of half precision on GPUs, prefer."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lay the weights of the model out with their channels last; the features follow.

    Nothing else changes: shapes stay ``B x C x H x W``, and values the same but for rounding.

    Example:
        >>> custom_hooks = [dict(type='ChannelsLastHook')]
    """

    def before_train(self, runner: Runner) -> None:
        """Change the layout of the weights that are there by now."""
        runner.model.to(memory_format=torch.channels_last)

    before_test = before_train
