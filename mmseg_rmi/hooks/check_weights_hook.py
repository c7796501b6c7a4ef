"""Checkpoints that do not fit the model or its optimizer."""

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmseg.registry import HOOKS

from mmseg_rmi.trained_weights import check_optimizer, check_training_state, check_weights


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Raise an error where a checkpoint does not fit the model, or a resumed one its optimizer.

    MMEngine loads the weights that fit and logs the others: a test of another network then scores
    random weights, and a resumed training has some at random. ``tools/train.py`` and
    ``tools/test.py`` use this hook. A training that only begins with a checkpoint's weights
    (``load_from``) needs one that fits.

    Example:
        >>> custom_hooks = [dict(type='CheckWeightsHook')]
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the weights of a checkpoint with those of the model.

        Raises:
            ValueError: they do not fit, or the training state to resume from is missing or that of
                another optimizer.
        """
        source = str(runner._load_from or 'the checkpoint')
        if runner._resume:
            check_training_state(checkpoint, source)
            check_weights(runner.model, checkpoint, source, 'resume')
            check_optimizer(runner.optim_wrapper, checkpoint['optimizer'], source)
        else:
            testing = not isinstance(runner._train_loop, BaseLoop)  # but settings of one, or None
            check_weights(runner.model, checkpoint, source, 'test' if testing else 'load')
