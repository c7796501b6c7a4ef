"""A late start of the region term, once the network tells the classes apart."""

from dataclasses import replace
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_rmi.losses import RMILoss
from mmseg_rmi.utils.checks import check_number


@HOOKS.register_module()
class RegionTermWarmUpHook(Hook):
    """Train with the pixel-wise term only at first, then bring in the region term gradually.

    The region term compares maps within an image, class by class, and ignores classes that are
    absent from the image. While a network does not tell classes apart, it therefore favours one map
    of whatever stands out, for all classes. In a short training this may keep classes from being
    learnt at all. Nor does it tell a map from its inverse, which a network of one channel may learn
    instead.

    With t the share of the training that is done and ``s = (t - begin) / (end - begin)``, clamped
    to [0, 1], every ``RMILoss`` trains with ``1 - s (1 - lambda)`` instead of its lambda; one that
    is the region term alone (lambda 0), with ``s`` times its ``loss_weight``. A resumed run
    continues where it was.

    Args:
        begin: share of the training before which there is no region term, in [0, 1].
        end: share of the training from which there is all of it, in [begin, 1].

    Raises:
        ValueError: ``begin`` or ``end`` is out of range; or, at the start of training, the model
            has no ``RMILoss``.
        TypeError: one of them is not a number.

    Example:
        >>> custom_hooks = [dict(type='RegionTermWarmUpHook', begin=0.25, end=0.75)]
    """

    def __init__(self, begin: float = 0.25, end: float = 0.75) -> None:
        check_number('begin', begin)
        check_number('end', end)
        if not 0 <= begin <= end <= 1:
            raise ValueError(f'need 0 <= begin <= end <= 1, got begin={begin} and end={end}')
        self.begin = begin
        self.end = end
        self._losses: list[tuple[RMILoss, float, float]] = []  # with final lambda and weight

    def before_train(self, runner: Runner) -> None:
        """Find the losses."""
        found = [module for module in runner.model.modules() if isinstance(module, RMILoss)]
        if not found:
            raise ValueError(
                'RegionTermWarmUpHook needs a model with an RMILoss, and there is none: set '
                "loss_decode=dict(type='RMILoss'), or leave out the hook"
            )
        self._set(1.0)  # in case an earlier training in this process was interrupted
        self._losses = [(loss, loss.settings.loss_lambda, loss.loss_weight) for loss in found]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the losses for this iteration."""
        self._set(self.share(runner.iter / runner.max_iters))

    def after_train(self, runner: Runner) -> None:
        """Restore the losses to the settings of the config."""
        self._set(1.0)

    def share(self, progress: float) -> float:
        """Return s, the factor of the region term, at this share of the training.

        Example:
            >>> [RegionTermWarmUpHook(0.25, 0.75).share(t) for t in (0.0, 0.5, 0.75, 1.0)]
            [0.0, 0.5, 1.0, 1.0]
        """
        if progress >= self.end:
            return 1.0
        if progress <= self.begin:
            return 0.0
        return (progress - self.begin) / (self.end - self.begin)

    def _set(self, share: float) -> None:
        for loss, loss_lambda, loss_weight in self._losses:
            if loss_lambda == 0:
                loss.loss_weight = share * loss_weight
            else:
                now = loss_lambda + (1 - share) * (1 - loss_lambda)
                loss.settings = replace(loss.settings, loss_lambda=now)
