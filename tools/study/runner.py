"""One cell of the study as processes of the training and the test tool."""

import contextlib
import ctypes
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tools.benchmark.machine import describe_machine, describe_versions
from tools.study.fingerprint import Options
from tools.study.job import Job
from tools.study.plan import Plan
from tools.study.platforms import free_cores
from tools.study.results import Entry
from tools.tool_process import ROOT, Progress, ToolFailure, follow_tool, import_path

WEIGHTS_OPTION = 'model.backbone.init_cfg.checkpoint'
DIVERGED = 'FloatingPointError'  # of CheckInvalidLossHook
CLOCK = ('time', 'data_time')
# Large tensors in pages that stay with the process, in place of fresh ones in each iteration.
ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': str(2**33),  # glibc reads them; elsewhere they mean nothing
    'MALLOC_TRIM_THRESHOLD_': str(2**33),
    'THP_MEM_ALLOC_ENABLE': '1',  # torch asks for huge pages
}
PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends


@dataclass
class Runner:
    """Runs cells as processes of the training and the test tool.

    Args:
        data: folder of the data sets.
        weights: folder of pretrained backbones.
        threads: of each process.
        lock: a file that processes keep open, see ``exclusive_lock``.
        note: is told how far a job is.
        loading: settings of a config by which images are loaded.
        tools: folder of the tools.
    """

    data: Path
    weights: Path
    threads: int
    lock: int
    note: Callable[[Job, Progress], None]
    loading: Options = field(default_factory=dict)
    tools: Path = ROOT / 'tools'
    processes: set[subprocess.Popen] = field(default_factory=set)
    stopping: bool = False

    def run(self, job: Job, plan: Plan) -> Entry:
        """Train, unless that is over, and test; return the line for the results.

        Raises:
            ToolFailure: a tool failed, and not because the training diverged.
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
            **asdict(job.platform),
            'threads': self.threads,
            'machine': describe_machine('cpu' if job.platform.is_cpu else 'cuda'),
            'versions': describe_versions(),
            'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        }

    def _train(self, job: Job, plan: Plan) -> dict[str, Any]:
        """Train from where the folder is; return what training took."""
        training = job.finished_training()
        if training is not None:
            return training
        if not job.can_resume():
            # A run of other settings, or one whose checkpoints have been deleted.
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True)
            job.write_record()
        training = self._train_on(job, plan)
        job.write_record(training=training)
        return training

    def _train_on(self, job: Job, plan: Plan) -> dict[str, Any]:
        """Train from the latest checkpoint, if there is one, to the end or to where it diverges."""
        command = ['train.py', job.config, '--work-dir', job.folder, '--resume']
        log = job.folder / 'train.log'
        options = {**job.options, **self._places(job, plan), **self.loading}
        try:
            memory = self._run(command, options, log, job)
        except ToolFailure:
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
        command = ['test.py', job.config, job.checkpoint, '--work-dir', folder]
        options = {**job.options, **self._places(job, plan), **job.test_options}
        self._run(command, options, job.folder / 'test.log', job)
        (file,) = folder.glob('*/*.json')
        return clean_metrics(json.loads(file.read_text()))

    def _places(self, job: Job, plan: Plan) -> Options:
        """Tell where data and weights lie here."""
        root = self.data / plan.data[job.cell.data]['folder']
        roots = {
            f'{split}_dataloader.dataset.data_root': root for split in ('train', 'val', 'test')
        }
        name = plan.pretrained(job.cell)
        weights = {WEIGHTS_OPTION: self.weights / name} if name else {}
        return {**roots, **weights}

    def _run(self, command: list, options: Options, log_file: Path, job: Job) -> int:
        """Run a tool to its end, as the log tells how far it is; return its peak memory in MB."""
        if self.stopping:
            raise ToolFailure('the study is being stopped')

        def note(progress: Progress) -> None:
            if progress.stage == 'train':
                job.done = progress.done
            self.note(job, progress)

        tool, *arguments = command
        line = [sys.executable, str(self.tools / tool), *map(str, arguments), '--cfg-options']
        line += [f'{key}={value}' for key, value in options.items()]
        started: list[subprocess.Popen] = []

        def keep(process: subprocess.Popen) -> None:
            started.append(process)
            self.processes.add(process)

        try:
            return follow_tool(
                line,
                log_file,
                note,
                keep,
                env=self._environment(job),
                pass_fds=(self.lock,),
                preexec_fn=_end_with_parent,
            )
        finally:
            self.processes.difference_update(started)

    def _environment(self, job: Job) -> Mapping[str, str]:
        variables = {**ALLOCATOR, **os.environ, **job.platform.variables}
        variables |= {'OMP_NUM_THREADS': str(self.threads), 'PYTHONUNBUFFERED': '1'}
        variables['PYTHONPATH'] = import_path()
        if self.threads > len(free_cores()):
            variables['OMP_WAIT_POLICY'] = 'PASSIVE'  # to wait asleep, another wants the core
        return variables

    def stop(self) -> None:
        """End the tools that are running; their runs can be resumed."""
        self.stopping = True
        for process in list(self.processes):
            process.terminate()


def _end_with_parent() -> None:
    """Let a tool end with the study, however that ends, where Linux can."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def scalars(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what MMEngine logged about a run, all its parts together."""
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut off with the run
                yield json.loads(line)


def clean_metrics(logged: dict[str, Any]) -> dict[str, Any]:
    """Round what the test tool logged, less the clock; what is not a number becomes None."""
    kept = {key: value for key, value in logged.items() if key not in CLOCK}
    return {key: None if math.isnan(value) else round(value, 3) for key, value in kept.items()}
