"""Run a training or a test as a process, and follow its log."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOG_LINE = re.compile(r'Iter\((train|test)\) \[ *(\d+)/(\d+)\]')
LOG_FIELDS = re.compile(r'(?:eta|loss): (?:\d+ days?, )?\S+')
MEMORY_UNITS = 1024**2 if sys.platform == 'darwin' else 1024  # of the system, in a MB
SHOWN_LINES = 15  # of the log of a tool that failed


class ToolFailure(RuntimeError):
    """A tool failed; holds the end of what it said."""


def import_path() -> str:
    """Return a PYTHONPATH that leads to this checkout's package first, installed or not."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))


@dataclass(frozen=True)
class Progress:
    """The progress of a tool.

    Attributes:
        stage: ``'train'`` or ``'test'``.
        done: iterations that are over.
        total: all iterations.
        fields: estimated time left and loss, as far as the line has them.
    """

    stage: str
    done: int
    total: int
    fields: tuple[str, ...] = ()


def parse_progress(line: str) -> Progress | None:
    """Read a line of MMEngine's log; None if it tells no progress.

    >>> parse_progress('Iter(train) [ 20/500]  lr: 9.3e-04  eta: 0:01:29  loss: 0.6070  acc: 85.9')
    Progress(stage='train', done=20, total=500, fields=('eta: 0:01:29', 'loss: 0.6070'))
    >>> parse_progress('Saving checkpoint at 20 iterations')
    """
    found = LOG_LINE.search(line)
    if found is None:
        return None
    return Progress(found[1], int(found[2]), int(found[3]), tuple(LOG_FIELDS.findall(line)))


def follow_tool(
    command: Sequence[str],
    log_file: Path,
    note: Callable[[Progress], None],
    started: Callable[[subprocess.Popen], None] = lambda process: None,
    **settings: Any,
) -> int:
    """Run a tool to its end and append what it says to a file.

    Args:
        command: the tool and its arguments.
        log_file: where its output goes.
        note: is told how far it is.
        started: is given the process.
        settings: of ``subprocess.Popen``.

    Returns:
        The most memory that the process held, in MB.

    Raises:
        ToolFailure: the tool failed.
    """
    with (
        log_file.open('a', buffering=1) as log,  # whole lines, for whoever looks on
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings
        ) as process,
    ):
        started(process)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                if progress := parse_progress(line):
                    note(progress)
        except BaseException:
            process.terminate()
            raise
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = ''.join(log_file.read_text().splitlines(keepends=True)[-SHOWN_LINES:])
        raise ToolFailure(f'{" ".join(command)}\nfailed:\n\n{end}\nall it said: {log_file}')
    return round(usage.ru_maxrss / MEMORY_UNITS)
