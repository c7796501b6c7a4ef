"""Several cells at a time, until none is left or the time is over."""

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tools.study.job import Job
from tools.study.monitor import Monitor
from tools.study.platforms import free_cores
from tools.study.runner import Runner
from tools.study.work_queue import WorkQueue
from tools.tool_process import ToolFailure

LOOK_EVERY = 0.5  # seconds, at whether the time is over
ORPHANS_END = 20.0  # seconds that loaders of a killed study may take to notice
FAILURES = 3  # at least, of the first cells, by which a study is given up


def share_cores(jobs: int) -> list[list[int]]:
    """Deal the cores out to the jobs; where they are too few, all jobs have all of them."""
    cores = free_cores()
    shares = jobs if jobs <= len(cores) else 1
    return [cores[job % shares :: shares] for job in range(jobs)]


def run_all(queue: WorkQueue, runner: Runner, monitor: Monitor, jobs: int) -> None:
    """Run all wanted cells, ``jobs`` at a time, as far as the budget lasts."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    default = signal.signal(signal.SIGTERM, interrupt)
    threads = [
        threading.Thread(target=_work, args=(queue, runner, monitor, cores, jobs), daemon=True)
        for cores in share_cores(jobs)
    ]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(LOOK_EVERY) if threads[0].is_alive() else time.sleep(LOOK_EVERY)
            if queue.budget.is_over and not runner.stopping:
                monitor.tell('the time is over: what is running goes on from its checkpoints')
                runner.stop()
    finally:
        runner.stop()
        with queue.lock:
            queue.lock.notify_all()
        for thread in threads:
            thread.join(timeout=30)
        signal.signal(signal.SIGTERM, default)


def _work(queue: WorkQueue, runner: Runner, monitor: Monitor, cores: list[int], jobs: int) -> None:
    """Run one cell after the other until none is left, on these cores where the system can."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, cores)  # of this thread and of the processes that it starts
    while not runner.stopping and (job := queue.take()) is not None:
        _run_job(queue, runner, monitor, job)
        count = max(FAILURES, jobs)
        if not runner.stopping and _fail_at_once(queue, monitor, count):
            monitor.tell(f'the first {count} cells failed before any iteration: the study stops')
            runner.stop()


def _fail_at_once(queue: WorkQueue, monitor: Monitor, count: int) -> bool:
    """Tell whether the first cells all failed at their start, as where a module is missing."""
    first = queue.taken[:count]
    at_once = [name for name in first if name in queue.failed and name not in monitor.seen]
    return len(at_once) == count


def _run_job(queue: WorkQueue, runner: Runner, monitor: Monitor, job: Job) -> None:
    monitor.tell(f'{job.cell.name}: starts, learning rate x {job.factor:g}')
    began, start = queue.budget.clock(), job.done
    try:
        result = runner.run(job, queue.plan)
    except ToolFailure as failure:
        if runner.stopping:
            queue.drop(job)
        else:
            queue.fail(job, str(failure))
            monitor.tell(f'{job.cell.name}: FAILED\n{failure}')
    except BaseException as error:
        queue.fail(job, repr(error))
        raise
    else:
        queue.budget.learn(job, queue.budget.clock() - began, job.done - start)
        queue.finish(job, result)
        score = result['metrics'].get('mIoU')
        monitor.tell(f'{job.cell.name}: ' + ('diverged' if score is None else f'mIoU {score}'))


@contextlib.contextmanager
def exclusive_lock(folder: Path, patience: float = ORPHANS_END) -> Iterator[int]:
    """Keep a second study out of the folder, as long as a process has the yielded file open.

    Raises:
        ValueError: there is one, and it does not end in ``patience`` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with (folder / 'lock').open('a') as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ValueError(
                        f'a study, or a run of one, is still at work in {folder}'
                    ) from None
                time.sleep(LOOK_EVERY)
        yield lock.fileno()
