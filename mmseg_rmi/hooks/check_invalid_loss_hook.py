"""Stop a run whose loss is no longer finite."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_rmi.utils.checks import check_integer


@HOOKS.register_module()
class CheckInvalidLossHook(Hook):
    """Stop training when a logged loss is infinite or NaN, as MMDetection's hook of this name does.

    The loss is checked at intervals only, because a check waits for the GPU.

    Args:
        interval: number of iterations between checks, at least 1.

    Raises:
        ValueError: the interval is less than 1.
        TypeError: the interval is not an integer.
        FloatingPointError: a loss is not finite; names it, its value and the iteration.

    Example:
        >>> custom_hooks = [dict(type='CheckInvalidLossHook', interval=50)]
    """

    def __init__(self, interval: int = 50) -> None:
        check_integer('interval', interval, 1)
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check the losses of this iteration, if its turn has come."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        losses = {name: value for name, value in outputs.items() if 'loss' in name}
        invalid = {name: value.item() for name, value in losses.items() if not value.isfinite()}
        if invalid:
            found = ', '.join(f'{name} = {value}' for name, value in invalid.items())
            raise FloatingPointError(
                f'{found} in iteration {runner.iter + 1}: the run has diverged. Lower the learning '
                'rate or clip gradients (optim_wrapper.clip_grad), and resume from the last '
                f'checkpoint in {runner.work_dir}.'
            )
