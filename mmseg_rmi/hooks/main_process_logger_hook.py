"""Logging of a distributed test, with an intact file of scores."""

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """Let only the main process write a test's scores to ``<work_dir>/<time>/<time>.json``.

    With mmengine's ``LoggerHook`` all processes write to the same file at the same time, which at
    times leaves invalid JSON. ``tools/test.py`` uses this one instead.

    Example:
        >>> default_hooks = dict(logger=dict(type='MainProcessLoggerHook', interval=50))
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the scores and write them, in the main process; do nothing in the others."""
        super().after_test_epoch(runner, metrics)
