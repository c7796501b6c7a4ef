"""Logging of a test in several processes whose file of scores stays whole."""

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """Let the main process alone write a test's scores to ``<work_dir>/<time>/<time>.json``.

    mmengine's ``LoggerHook`` lets every process write that file, all under the same name at the
    same time, and what they leave is at times no JSON. ``tools/test.py`` uses this one instead.

    Example:
        >>> default_hooks = dict(logger=dict(type='MainProcessLoggerHook', interval=50))
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the scores and write them, in the main process; do nothing in the others."""
        super().after_test_epoch(runner, metrics)
