"""Run the study of losses, cell by cell: ``python tools/study.py``.

Every cell is an ordinary ``tools/train.py`` and ``tools/test.py``. A finished cell becomes a line
of the results at once and is not run again; a run that was cut off goes on from its last
checkpoint. ``--list`` shows what is done and what is left.
"""

import argparse
import contextlib
import fcntl
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table
from study_plan import ROOT, Cell, Plan, Result, Results, fingerprint, read_plan
from study_runner import Failure, Job, Runner, free_cores

PLAN = ROOT / 'configs' / 'study' / 'plan.yaml'
RESULTS = ROOT / 'docs' / 'study' / 'results.jsonl'
WEIGHTS = Path('work_dirs/pretrained/tf_efficientnet_lite0.pth')
CONVERTER = 'python tools/model_converters/efficientnet_lite0.py'
REPORT_EVERY = 60.0  # seconds from one line about a cell to the next

# Running all of them


@dataclass
class Study:
    """The plan, its results, and which cells are under way."""

    plan: Plan
    results: Results
    work_dir: Path
    wanted: list[Cell]
    running: list[Job] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def job(self, cell: Cell, factor: float) -> Job:
        """All about the run of a cell."""
        trained = self.plan.trained(cell)
        options = self.plan.options(cell, factor)
        config = self.plan.config_file(cell)
        return Job(
            cell=cell,
            config=config,
            options=options,
            test_options=self.plan.methods[cell.method].test_options,
            factor=factor,
            config_hash=fingerprint(config, options),
            folder=self.work_dir / trained.name,
            iterations=options['train_cfg.max_iters'],
        )

    def left(self) -> list[Cell]:
        """Wanted cells without a result, in order."""
        return [
            cell
            for cell in self.wanted
            if cell.name not in self.failed and self.results.find(self.plan, cell) is None
        ]

    def take(self) -> Job | None:
        """The next cell to run, once there is one; None if there will be none."""
        with self.lock:
            while True:
                names = {job.cell.name for job in self.running}
                folders = {job.folder for job in self.running}
                for cell in self.left():
                    factor = self.results.factor(self.plan, cell)
                    if cell.name in names or factor is None:
                        continue
                    job = self.job(cell, factor)
                    if job.folder not in folders:
                        self.running.append(job)
                        return job
                if not self.running:
                    return None
                self.lock.wait()

    def finish(self, job: Job, result: Result | None, error: str = '') -> None:
        """Note how a cell went, and let those who wait for it go on."""
        with self.lock:
            self.running.remove(job)
            if result is None:
                self.failed[job.cell.name] = error
            else:
                self.results.append(result)
                self._clear(job)
            self.lock.notify_all()

    def _clear(self, job: Job) -> None:
        """Delete the checkpoints that no cell needs any more."""
        checkpoints = sorted(job.folder.glob('iter_*.pth'), key=lambda file: file.stat().st_mtime)
        for file in checkpoints[: None if job.cell.tunes else -1]:
            file.unlink()

    def iterations_left(self) -> int:
        """How many iterations the wanted cells still take."""
        done = {job.cell.name: job.done for job in self.running}
        total = 0
        for cell in self.left():
            left = self.plan.iterations_of(cell) - done.get(cell.name, 0)
            trains = self.plan.trained(cell) == cell
            total += max(0, left) if trains else 0
        return total


class Monitor:
    """Tells in lines how far the running cells are, and when all will be done."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.study: Study | None = None
        self.started = time.monotonic()
        self.passed = 0  # iterations since then
        self.seen: dict[str, int] = {}
        self.told: dict[str, float] = {}

    def watch(self, study: Study) -> None:
        """Measure from now on."""
        self.study, self.started = study, time.monotonic()

    def note(self, job: Job, progress: str) -> None:
        """Count a cell's iterations, and tell about it, unless it has just been told."""
        name, now = job.cell.name, time.monotonic()
        # What a resumed run has done before is not counted.
        self.passed += job.done - self.seen.get(name, job.done)
        self.seen[name] = job.done
        if now - self.told.get(name, -math.inf) >= REPORT_EVERY:
            self.told[name] = now
            self.tell(f'{name}: {progress}')

    def tell(self, line: str) -> None:
        """Print a line with what is left of the whole study."""
        assert self.study is not None
        with self.study.lock:
            left, cells = self.study.iterations_left(), len(self.study.left())
        spent = time.monotonic() - self.started
        hours = f', about {spent / self.passed * left / 3600:.1f} h' if self.passed else ''
        clock = time.strftime('%H:%M')
        self.console.print(f'{clock} {line}  ({cells} cells left{hours})', highlight=False)


def share_cores(jobs: int) -> list[list[int]]:
    """Deal the cores out to the jobs; where they are too few, all jobs have all of them."""
    cores = free_cores()
    shares = jobs if jobs <= len(cores) else 1
    return [cores[job % shares :: shares] for job in range(jobs)]


def work(study: Study, runner: Runner, monitor: Monitor, cores: list[int]) -> None:
    """Run one cell after the other until none is left, on these cores where the system can."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, cores)  # of this thread and of the processes that it starts
    while not runner.stopping and (job := study.take()) is not None:
        monitor.tell(f'{job.cell.name}: starts, learning rate x {job.factor:g}')
        try:
            result = runner.run(job, study.plan)
        except Failure as failure:
            study.finish(job, None, str(failure))
            if not runner.stopping:
                monitor.tell(f'{job.cell.name}: FAILED\n{failure}')
        except BaseException as error:
            study.finish(job, None, repr(error))
            raise
        else:
            study.finish(job, result)
            score = result['metrics'].get('mIoU')
            monitor.tell(f'{job.cell.name}: ' + ('diverged' if score is None else f'mIoU {score}'))


def run_all(study: Study, runner: Runner, monitor: Monitor, jobs: int) -> None:
    """Run all wanted cells, ``jobs`` at a time."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    default = signal.signal(signal.SIGTERM, interrupt)
    threads = [
        threading.Thread(target=work, args=(study, runner, monitor, cores), daemon=True)
        for cores in share_cores(jobs)
    ]
    monitor.watch(study)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        runner.stop()
        for thread in threads:
            thread.join(timeout=30)
        signal.signal(signal.SIGTERM, default)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Keep a second study out of the folder, as long as a process has the yielded file open.

    Raises:
        ValueError: there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('a') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f'a study, or a run of one, is still at work in {folder}') from None
        yield lock.fileno()


# The command


def make_list(study: Study) -> Table:
    """All cells, with their results as far as there are any."""
    table = Table('cell', 'learning rate', 'mIoU', 'state')
    for cell in study.wanted:
        result, factor = (
            study.results.find(study.plan, cell),
            study.results.factor(study.plan, cell),
        )
        rate = '-' if factor is None else f'x {factor:g}'
        score = '' if result is None else f'{result["metrics"].get("mIoU", "diverged")}'
        others = len(study.results.named(cell.name)) - (result is not None)
        state = 'left' if result is None else 'done'
        state += f', {others} of other settings' if others else ''
        table.add_row(cell.name, rate, score, state)
    return table


def choose(plan: Plan, results: Results, names: list[str], again: bool) -> list[Cell]:
    """The cells to run: those named, with what they wait for, or all.

    Cells that are run again have one number between them, the least that not all of them have a
    result of, so that a repeat which was stopped goes on, and its gains are of one round.

    Raises:
        ValueError: a name is of no cell, or there is none to run again.
    """
    if not names:
        if again:
            raise ValueError('--again needs the names of the cells to run again, see --list')
        return list(plan.cells)
    named = list(map(plan.cell, names))
    while again and all(results.find(plan, cell) for cell in named):
        named = [replace(cell, repeat=cell.repeat + 1) for cell in named]
    tuning = [tuner for cell in named if not cell.tunes for tuner in plan.tuning_of(cell)]
    return list(dict.fromkeys([*tuning, *named]))


def check(study: Study, data: Path, weights: Path) -> None:
    """Refuse to start without data or weights.

    Raises:
        ValueError: something is missing; says what makes it.
    """
    if any(map(study.plan.pretrained, study.left())) and not weights.is_file():
        raise ValueError(
            f'there are no pretrained weights {weights}; this writes them: {CONVERTER}'
        )
    for name in dict.fromkeys(cell.data for cell in study.left()):
        folder = data / study.plan.data[name]['folder']
        if not folder.is_dir():
            raise ValueError(
                f'there is no data set {name} in {folder}: name its parent with --data'
            )


def default_data() -> Path:
    """``data`` here, or in the folder that tests take their data from."""
    return Path(os.environ.get('MMSEG_RMI_DATA', '.')) / 'data'


def positive(text: str) -> int:
    """Read a number of which there must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {number}')
    return number


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Run the study of losses')
    parser.add_argument('cells', nargs='*', metavar='CELL', help='run these alone, see --list')
    parser.add_argument('--list', action='store_true', help='show the cells, and run none')
    parser.add_argument(
        '--again', action='store_true', help='run the named cells once more, with the same seed'
    )
    parser.add_argument(
        '--data',
        type=Path,
        default=default_data(),
        help='folder of camvid and voc2012_subset; data, or $MMSEG_RMI_DATA/data',
    )
    parser.add_argument('--weights', type=Path, default=WEIGHTS, help='of EfficientNet-lite0')
    parser.add_argument('--plan', type=Path, default=PLAN, help='of cells, by default %(default)s')
    parser.add_argument(
        '--results',
        type=Path,
        default=RESULTS,
        help='where results are, and go; begin yours as a copy to keep the rates that were tuned',
    )
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/study'), help='of checkpoints and logs'
    )
    parser.add_argument(
        '--jobs', type=positive, default=1, help='cells at a time, each on cores of its own'
    )
    # With one thread, torch leaves 1x1 convolutions to a routine that takes twice as long.
    parser.add_argument('--threads', type=positive, default=2, help='of each cell')
    return parser.parse_args()


def main() -> int:
    """Run the study as the command line says."""
    args = parse_args()
    console = Console()
    plan, results = read_plan(args.plan), Results(args.results)
    wanted = choose(plan, results, args.cells, args.again)
    study = Study(plan, results, args.work_dir.resolve(), wanted)
    if args.list:
        console.print(make_list(study))
        return 0
    check(study, args.data, args.weights)
    monitor = Monitor(console)
    with alone(study.work_dir) as lock:
        runner = Runner(
            args.data.resolve(),
            args.weights.resolve(),
            threads=args.threads,
            lock=lock,
            note=monitor.note,
        )
        run_all(study, runner, monitor, args.jobs)
    if args.cells:
        console.print(make_list(study))
    return 1 if study.failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('stopped: the same command goes on from the last checkpoints')
    except (ValueError, OSError) as error:
        sys.exit(f'study: {error}')
