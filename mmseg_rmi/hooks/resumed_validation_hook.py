"""Validations that a training was killed in."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

KEY = 'iter_of_validation'  # one that begins with val would be logged as a score


@HOOKS.register_module()
class ResumedValidationHook(Hook):
    """Let a resumed training begin with the validation that its checkpoint was saved before.

    MMEngine saves, and then validates. A training that is killed in between would go on without
    that validation: it may miss its best checkpoint or, after the last iteration, has no scores at
    all. ``tools/train.py`` uses this hook. A checkpoint that was saved again as the best so far is
    known to be validated.

    Example:
        >>> custom_hooks = [dict(type='ResumedValidationHook')]
    """

    priority = 'LOWEST'  # after the hooks that restore states

    def before_val(self, runner: Runner) -> None:
        """Note, for checkpoints that the validation saves, where it took place."""
        runner.message_hub.update_info(KEY, runner.iter)

    def before_train(self, runner: Runner) -> None:
        """Validate if the checkpoint was saved before a validation that was due."""
        validated = runner.message_hub.get_info(KEY, -1)
        if 0 < runner.iter != validated and runner.val_loop and _is_due(runner.train_loop):
            runner.logger.info('Resumed before a validation, with which the training begins.')
            runner.val_loop.run()


def _is_due(loop: Any) -> bool:
    """Tell whether MMEngine's loop validates where it is."""
    if isinstance(loop, IterBasedTrainLoop):
        done, end = loop.iter, loop.max_iters
    elif isinstance(loop, EpochBasedTrainLoop):
        done, end = loop.epoch, loop.max_epochs
    else:
        return False
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
