"""Tools as modules and as processes, and a network that trains in no time."""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mmseg_rmi  # noqa: F401 (lets torch.load read checkpoints)

TIMEOUT = 600  # seconds, far beyond what any of the runs takes
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
CONFIG = 'deeplabv3plus_r18-d16_1xb4-{}-800_street-scenes-144x192.py'
TINY = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.decode_head.in_channels': 64,
    'model.decode_head.channels': 8,
    'model.decode_head.c1_in_channels': 8,
    'model.decode_head.c1_channels': 8,
}


def load_tool(name: str) -> ModuleType:
    """Import a tool by its path below ``tools``."""
    name_here = f'tool_{Path(name).stem}'  # not 'test', which is a package of python's own
    spec = importlib.util.spec_from_file_location(name_here, TOOLS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name_here] = module  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def config(loss: str) -> str:
    """Path of the demo's config on street scenes."""
    return str(ROOT / 'configs' / 'demo' / CONFIG.format(loss))


def options(scenes: Path, *more: str) -> list[str]:
    """Command-line options: a tiny network on these scenes."""
    sizes = (f'{key}={size}' for key, size in TINY.items())
    roots = (f'{split}_dataloader.dataset.data_root={scenes}' for split in ('train', 'val', 'test'))
    return ['--cfg-options', *sizes, *roots, *more]


def start(*command: Any, **variables: str) -> subprocess.Popen:
    """Start a command on one thread, its output in a pipe."""
    variables = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': str(ROOT),
        'PYTHON': sys.executable,
        'PYTHONFAULTHANDLER': '1',
        **variables,
    }
    return subprocess.Popen(
        [*map(str, command)],
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen, timeout: float = TIMEOUT, code: int = 0) -> str:
    """Wait until a process ends with this code and return what it said; fail if it hangs."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        abort(process.pid)
        output, _ = process.communicate(timeout=60)
        pytest.fail(f'Not over after {timeout} s. It says last:\n{threads_last(output)}')
    assert process.returncode == code, output
    return output


def wait_for(file: Path, process: subprocess.Popen) -> None:
    """Wait until a process, or one below it, has made a file."""
    deadline = time.monotonic() + TIMEOUT
    while not file.exists():
        assert process.poll() is None, process.stdout.read() if process.stdout else ''
        assert time.monotonic() < deadline
        time.sleep(0.05)


def abort(pid: int) -> None:
    """End a process, then those below it; each says where its threads are."""
    children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGABRT)
    time.sleep(0.2)  # so that what two of them say does not mix
    for child in children:
        with contextlib.suppress(FileNotFoundError):  # it is over, as its parent is
            abort(int(child))


def threads_last(output: str) -> str:
    """End an output with the threads of the first process that :func:`abort` ended.

    Reports of many processes are cut at their beginning, and the first one started the others.
    """
    said, *dumps = re.split(
        '(?=Fatal Python error: )', re.sub('\nExtension modules: .*', '', output)
    )
    return '\n'.join([said[-5_000:], *reversed(dumps)])


def run(*command: Any, **variables: str) -> str:
    """Run a command to its end."""
    return finish(start(*command, **variables))


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])
