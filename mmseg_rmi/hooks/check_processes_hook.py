"""Distributed trainings whose processes would not do the same, or share no folder."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Sized
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

# What all processes of a training have in common, and what to do where they do not.
REMEDIES = {
    'the iteration that a training starts after': (
        'a checkpoint is not on every machine: take a --work-dir that all of them share, or copy '
        'its checkpoints to each'
    ),
    'the number of training images': 'give every machine the same data',
    'the number of batches in an epoch': (
        'let every process have as many, by train_dataloader.sampler.round_up=True'
    ),
    'the number of iterations': 'start every process with the same config',
}


@HOOKS.register_module()
class CheckProcessesHook(Hook):
    """Raise an error where processes of a training would wait for each other, or differ in weights.

    Machines without a common folder are such a case: MMEngine saves checkpoints on the first one,
    so that the others would start anew while it resumes. A process with fewer batches than the
    others leaves them waiting until the process group's timeout.

    Evaluations need no common folder with this hook: without one, metrics gather their results in
    memory (``collect_device='gpu'``, which is the main memory for gloo) and not in files.
    ``tools/train.py`` and ``tools/test.py`` use this hook.

    Example:
        >>> custom_hooks = [dict(type='CheckProcessesHook')]
    """

    priority = 'LOW'  # after the hooks that exchange the loader of a training

    def __init__(self) -> None:
        self._shares_folder: bool | None = None

    def before_train(self, runner: Runner) -> None:
        """Compare what the processes are about to do.

        Raises:
            ValueError: one of them differs from the first; says by what, and what to do.
        """
        every = all_gather_object((socket.gethostname(), _find_plan(runner)))
        host, first = every[0]
        for rank, (other_host, plan) in enumerate(every):
            for what, remedy in REMEDIES.items():
                if plan[what] != first[what]:
                    raise ValueError(
                        f'{what} is {first[what]} in process 0 on {host} and {plan[what]} in '
                        f'process {rank} on {other_host}: {remedy}'
                    )

    def before_val(self, runner: Runner) -> None:
        """Gather results in memory if the processes share no folder."""
        self._gather_in_memory(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Gather results in memory if the processes share no folder."""
        self._gather_in_memory(runner, runner.test_loop)

    def _gather_in_memory(self, runner: Runner, loop: Any) -> None:
        if self._shares_folder is None:
            self._shares_folder = _is_folder_shared()
        if self._shares_folder:
            return
        for metric in loop.evaluator.metrics:
            if metric.collect_device == 'cpu' and metric.collect_dir is None:
                metric.collect_device = 'gpu'
                runner.logger.info(
                    f'No folder that all processes can write to: {type(metric).__name__} gathers '
                    'its results in memory.'
                )


def _find_plan(runner: Runner) -> dict[str, int | None]:
    """Return what of a training all its processes must have in common."""
    loop = runner.train_loop
    by_epoch = not hasattr(loop, 'dataloader_iterator')  # others begin their data anew
    values = (
        runner.iter,
        _length(loop.dataloader.dataset),
        _length(loop.dataloader) if by_epoch else None,
        runner.max_iters,
    )
    return dict(zip(REMEDIES, values, strict=True))


def _length(data: Any) -> int | None:
    return len(data) if isinstance(data, Sized) else None


def _is_folder_shared() -> bool:
    """Tell whether all processes see what the first one writes into its working folder."""
    with ExitStack() as files:
        names: list[str | None] = [None]
        if is_main_process():
            with suppress(OSError):  # where nothing can be written
                file = files.enter_context(tempfile.NamedTemporaryFile(dir='.', prefix='.shared-'))
                names = [Path(file.name).name]
        broadcast_object_list(names)
        return all(all_gather_object(names[0] is not None and Path(names[0]).exists()))
