"""Checkpoints that survive a killed process or a full disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

BACKEND = 'atomic'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save checkpoints so that there is a complete one at any time.

    MMEngine deletes an old checkpoint and then writes the new one in place: a process that is
    killed in between leaves a truncated file and, with ``max_keep_ckpts=1``, nothing else. This
    hook writes to a temporary file, renames it, and then deletes. ``tools/train.py`` uses it
    instead of ``CheckpointHook``; the arguments are the same.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1000))
    """

    backend_args: dict | None
    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Choose the backend that writes files, unless the config does."""
        remote = '://' in str(self.out_dir or runner.work_dir)
        if self.backend_args is None and self.file_client_args is None and not remote:
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._removing_last():
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        """Delay the removal of files until a save has succeeded."""
        if isinstance(self.file_backend, _RemovingLater):  # a save within a save
            yield
            return
        later = _RemovingLater(self.file_backend)
        self.file_backend = later
        try:
            yield
        finally:
            self.file_backend = later.backend
        for removal in later.removals:
            removal()


class AtomicLocalBackend(LocalBackend):
    """Local files that are written completely or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a temporary file, flush it to the disk, and rename it.

        Raises:
            OSError: they cannot be written; says what to do.
        """
        partial = Path(f'{filepath}.partial')
        try:
            super().put(obj, partial)
            with partial.open('rb') as written:
                os.fsync(written.fileno())
            partial.replace(filepath)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _unwritten(error, filepath, len(obj)) from error
            raise


def _unwritten(error: OSError, filepath: str | Path, size: int) -> OSError:
    """Return an error of the same number that names the file and the remedy."""
    return OSError(
        error.errno,
        f'{error.strerror} for a checkpoint of {size} bytes, and those saved before are whole: '
        'free some space, or save to another disk (default_hooks.checkpoint.out_dir), and go on '
        'with --resume',
        str(filepath),
    )


class _RemovingLater:
    """A file backend that records removals instead of carrying them out."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.removals: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removals.append(lambda: self.backend.remove(path))

    def rmtree(self, path: str) -> None:
        self.removals.append(lambda: self.backend.rmtree(path))


register_backend(BACKEND, AtomicLocalBackend, force=True)
