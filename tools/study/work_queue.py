"""The queue of cells: wanted, under way, done, and next."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.study.budget import Budget
from tools.study.fingerprint import fingerprint
from tools.study.job import Job, checkpoints
from tools.study.plan import Cell, Plan
from tools.study.results import Entry, Results


@dataclass
class WorkQueue:
    """The wanted cells of a plan, in order, and how far they are.

    Args:
        plan: what they are made of.
        results: of the cells that are done.
        work_dir: of checkpoints and logs.
        wanted: the cells.
        budget: the time that there is.
    """

    plan: Plan
    results: Results
    work_dir: Path
    wanted: list[Cell]
    budget: Budget = field(default_factory=lambda: Budget(None, on_cpu=True))
    running: list[Job] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)  # names, all that ever ran
    failed: dict[str, str] = field(default_factory=dict)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def job(self, cell: Cell, factor: float) -> Job:
        """Collect all about the run of a cell."""
        platform, config = self.results.platform, self.plan.config_file(cell)
        options = {**self.plan.options(cell, factor), **platform.options}
        test_options = self.plan.methods[cell.method].test_options
        settings = self.plan.data[cell.data].get('options', {})
        return Job(
            cell=cell,
            config=config,
            options=options,
            test_options=test_options,
            factor=factor,
            config_hash=fingerprint(config, options),
            platform=platform,
            kind=json.dumps([config.name, settings, test_options]),
            folder=self.work_dir / platform.folder / self.plan.trained(cell).name,
            iterations=options['train_cfg.max_iters'],
        )

    def left(self) -> list[Cell]:
        """List the wanted cells without a result, in order."""
        return [
            cell
            for cell in self.wanted
            if cell.name not in self.failed and self.results.find(self.plan, cell) is None
        ]

    def take(self) -> Job | None:
        """Take the next cell to run, once there is one; None if there will be none.

        It is the first that has all it waits for and that will be over in time.
        """
        with self.lock:
            while not self.budget.is_over:
                for job in self._ready():
                    if self.budget.fits(job):
                        self.running.append(job)
                        self.taken.append(job.cell.name)
                        return job
                if not self.running:
                    return None
                self.lock.wait()
        return None

    def _ready(self) -> Iterator[Job]:
        """Find what could run beside what is running, in order."""
        names = {job.cell.name for job in self.running}
        folders = {job.folder for job in self.running}
        for cell in self.left():
            factor = self.results.factor(self.plan, cell)
            if cell.name not in names and factor is not None:
                job = self.job(cell, factor)
                if job.folder not in folders:
                    yield job

    def finish(self, job: Job, result: Entry) -> None:
        """Keep the result of a cell."""
        with self._taken_back(job):
            self.results.append(result)
            self._clear(job)

    def fail(self, job: Job, error: str) -> None:
        """Note that a cell cannot be run, so that it is not taken again."""
        with self._taken_back(job):
            self.failed[job.cell.name] = error

    def drop(self, job: Job) -> None:
        """Note that a cell was stopped, and is still to be run."""
        with self._taken_back(job):
            pass

    @contextlib.contextmanager
    def _taken_back(self, job: Job) -> Iterator[None]:
        """Let those who wait for a cell go on once it is not running any more."""
        with self.lock:
            self.running.remove(job)
            yield
            self.lock.notify_all()

    def _clear(self, job: Job) -> None:
        """Delete the checkpoints that no cell needs any more."""
        for file in checkpoints(job.folder)[: None if job.cell.tunes else -1]:
            file.unlink()

    def iterations_left(self) -> int:
        """Count the iterations that the wanted cells still take."""
        done = {job.cell.name: job.done for job in self.running}
        total = 0
        for cell in self.left():
            left = self.plan.iterations_of(cell) - done.get(cell.name, 0)
            trains = self.plan.trained(cell) == cell
            total += max(0, left) if trains else 0
        return total


def choose(plan: Plan, results: Results, names: list[str], again: bool = False) -> list[Cell]:
    """Choose the cells to run: those named, with what they wait for, or all.

    Cells that tune a rate which another platform has found are left out unless they are named.
    Cells that are run again have one number between them, the least that not all of them have a
    result of, so that a repeat which was stopped goes on, and its gains are of one round.

    Args:
        plan: all cells.
        results: of cells that are done.
        names: of cells; ``*`` and ``?`` stand for any characters, as in names of files.
        again: whether cells that are done are run once more.

    Raises:
        ValueError: a name is of no cell, or there is none to run again.
    """
    if not names:
        if again:
            raise ValueError('--again needs the names of the cells to run again, see list')
        return [cell for cell in plan.cells if not results.is_tuned_elsewhere(plan, cell)]
    named = list(dict.fromkeys(cell for name in names for cell in plan.match(name)))
    while again and all(results.find(plan, cell) for cell in named):
        named = [replace(cell, repeat=cell.repeat + 1) for cell in named]
    tuning = [tuner for cell in named if not cell.tunes for tuner in plan.tuning_of(cell)]
    needed = [tuner for tuner in tuning if not results.is_tuned_elsewhere(plan, tuner)]
    return list(dict.fromkeys([*needed, *named]))
