"""One cell of the study as processes of the training and the test tool."""

import contextlib
import importlib
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from study_plan import ROOT, Cell, Options, Plan, Result

TOOLS = ROOT / 'tools'
WEIGHTS_OPTION = 'model.backbone.init_cfg.checkpoint'
LOG_LINE = re.compile(r'Iter\((train|test)\) \[ *(\d+)/(\d+)\]')
DIVERGED = 'FloatingPointError'  # of CheckInvalidLossHook
MEMORY_UNITS = 1024**2 if sys.platform == 'darwin' else 1024  # of the system, in a MB
CLOCK = ('time', 'data_time')
# Large tensors in pages that stay with the process, in place of fresh ones in each iteration.
ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': str(2**33),  # glibc reads them; elsewhere they mean nothing
    'MALLOC_TRIM_THRESHOLD_': str(2**33),
    'THP_MEM_ALLOC_ENABLE': '1',  # torch asks for huge pages
}
VERSIONS = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmseg', 'timm', 'mmseg_rmi')


@dataclass
class Job:
    """A cell on its way: what it trains with and where."""

    cell: Cell
    config: Path
    options: Options
    test_options: Options
    factor: float
    config_hash: str
    folder: Path
    iterations: int
    done: int = 0  # iterations


class Failure(RuntimeError):
    """A tool failed; holds the end of what it said."""


class Runner:
    """Runs cells as processes of the training and the test tool."""

    def __init__(
        self,
        data: Path,
        weights: Path,
        *,
        threads: int,
        lock: int,
        note: Callable[[Job, str], None],
        tools: Path = TOOLS,
    ) -> None:
        self.data = data
        self.weights = weights
        self.threads = threads
        self.lock = lock  # a file that processes keep open, see `alone`
        self.note = note
        self.tools = tools
        self.processes: set[subprocess.Popen] = set()
        self.stopping = False

    def run(self, job: Job, plan: Plan) -> Result:
        """Train, unless that is over, and test; return the line for the results.

        Raises:
            Failure: a tool failed, and not because the training diverged.
        """
        training = self._train(job, plan)
        metrics: dict[str, Any] = {}
        if 'diverged' not in training:
            metrics = self._test(job, plan)
        return {
            'cell': job.cell.name,
            'stage': 'tuning' if job.cell.tunes else 'report',
            'data': job.cell.data,
            'method': job.cell.method,
            'run_of': plan.methods[job.cell.method].run_of,
            'seed': job.cell.seed,
            'repeat': job.cell.repeat,
            'lr_factor': job.factor,
            'iterations': job.iterations,
            'config': str(job.config.relative_to(ROOT)),
            'options': {**job.options, **job.test_options},
            'config_hash': job.config_hash,
            'metrics': metrics,
            **training,
            'threads': self.threads,
            'machine': describe_machine(),
            'versions': find_versions(),
            'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        }

    def _train(self, job: Job, plan: Plan) -> dict[str, Any]:
        """Train from where the folder is; return what training took."""
        record = job.folder / 'run.json'
        known = json.loads(record.read_text()) if record.exists() else {}
        same, training = known.get('config_hash') == job.config_hash, known.get('training')
        if same and training and ('diverged' in training or self._checkpoint(job).exists()):
            return training
        if not same or training:
            # A run of other settings, or one whose checkpoints have been deleted.
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True)
            record.write_text(json.dumps({'config_hash': job.config_hash}))
        training = self._train_on(job, plan)
        record.write_text(json.dumps({'config_hash': job.config_hash, 'training': training}))
        return training

    def _train_on(self, job: Job, plan: Plan) -> dict[str, Any]:
        """Train from the latest checkpoint, if there is one, to the end or to where it diverges."""
        command = ['train.py', job.config, '--work-dir', job.folder, '--resume']
        log = job.folder / 'train.log'
        try:
            memory = self._run(command, {**job.options, **self._places(job, plan)}, log, job)
        except Failure:
            said = [line for line in log.read_text().splitlines() if DIVERGED in line]
            if self.stopping or not said:
                raise
            return {'diverged': said[-1]}
        times = [line['time'] for line in scalars(job.folder) if 'loss' in line]
        return {
            'seconds_per_iteration': round(statistics.median(times), 4),
            'peak_memory_mb': memory,
        }

    def _test(self, job: Job, plan: Plan) -> dict[str, Any]:
        folder = job.folder / f'test-{job.cell.method}'
        shutil.rmtree(folder, ignore_errors=True)
        command = ['test.py', job.config, self._checkpoint(job), '--work-dir', folder]
        options = {**job.options, **self._places(job, plan), **job.test_options}
        self._run(command, options, job.folder / 'test.log', job)
        (file,) = folder.glob('*/*.json')
        return clean_metrics(json.loads(file.read_text()))

    def _checkpoint(self, job: Job) -> Path:
        return job.folder / f'iter_{job.iterations}.pth'

    def _places(self, job: Job, plan: Plan) -> Options:
        """Where data and weights lie here."""
        root = self.data / plan.data[job.cell.data]['folder']
        roots = {
            f'{split}_dataloader.dataset.data_root': root for split in ('train', 'val', 'test')
        }
        weights = {WEIGHTS_OPTION: self.weights} if plan.pretrained(job.cell) else {}
        return {**roots, **weights}

    def _run(self, command: list, options: Options, log_file: Path, job: Job) -> int:
        """Run a tool to its end, as the log tells how far it is; return its peak memory in MB."""
        tool, *arguments = command
        line = [sys.executable, str(self.tools / tool), *map(str, arguments), '--cfg-options']
        line += [f'{key}={value}' for key, value in options.items()]
        environment = {**ALLOCATOR, **os.environ, 'OMP_NUM_THREADS': str(self.threads)}
        if self.threads > len(free_cores()):
            environment['OMP_WAIT_POLICY'] = 'PASSIVE'  # to wait asleep, another wants the core
        with (
            log_file.open('a', buffering=1) as log,
            subprocess.Popen(
                line,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                pass_fds=(self.lock,),
            ) as process,
        ):
            self.processes.add(process)
            assert process.stdout is not None
            for said in process.stdout:
                log.write(said)
                if found := LOG_LINE.search(said):
                    if found[1] == 'train':
                        job.done = int(found[2])
                    self.note(job, f'{found[1]} {found[2]}/{found[3]}')
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.processes.discard(process)
        if process.returncode:
            end = ''.join(log_file.read_text().splitlines(keepends=True)[-15:])
            raise Failure(f'{" ".join(line)}\nfailed:\n\n{end}\nall it said: {log_file}')
        return round(usage.ru_maxrss / MEMORY_UNITS)

    def stop(self) -> None:
        """End the tools that are running; their runs can be resumed."""
        self.stopping = True
        for process in list(self.processes):
            process.terminate()


def scalars(folder: Path) -> Iterator[dict[str, Any]]:
    """What mmengine logged about a run, all its parts together."""
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut off with the run
                yield json.loads(line)


def clean_metrics(logged: dict[str, Any]) -> dict[str, Any]:
    """Round what the test tool logged, less the clock; what is not a number becomes None."""
    kept = {key: value for key, value in logged.items() if key not in CLOCK}
    return {key: None if math.isnan(value) else round(value, 3) for key, value in kept.items()}


def describe_machine() -> str:
    """Name of the processor and the number of its cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        name = describe_processor(Path('/proc/cpuinfo').read_text()) or name
    return f'{name}, {os.cpu_count()} cores'


def describe_processor(cpuinfo: str) -> str:
    """Name of the first processor that Linux lists, with the numbers that tell its generation.

    Another generation rounds in another way, and the same seed does not lead to the same network.
    """
    fields = ('model name', 'cpu family', 'model')
    found = [re.search(rf'^{field}\s*: (.*)', cpuinfo, re.MULTILINE) for field in fields]
    name, family, model = ['' if match is None else match[1] for match in found]
    return f'{name}, family {family}, model {model}' if family and model else name


def find_versions() -> dict[str, str]:
    """Versions of what computes."""
    versions = {'python': platform.python_version()}
    for name in VERSIONS:
        with contextlib.suppress(ModuleNotFoundError):
            versions[name] = str(importlib.import_module(name).__version__)
    return versions


def free_cores() -> list[int]:
    """The cores that this thread, and what it starts, may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
