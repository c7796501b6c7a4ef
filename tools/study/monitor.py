"""Lines that tell how far the study is."""

import math
import time

from rich.console import Console

from tools.study.job import Job
from tools.study.work_queue import WorkQueue
from tools.tool_process import Progress

REPORT_EVERY = 60.0  # seconds from one line about a cell to the next


class Monitor:
    """Tells in lines how far the running cells are, and when all will be done."""

    def __init__(self, console: Console, queue: WorkQueue) -> None:
        self.console = console
        self.queue = queue
        self.started = time.monotonic()
        self.passed = 0  # iterations since then
        self.seen: dict[str, int] = {}
        self.told: dict[str, float] = {}

    def note(self, job: Job, progress: Progress) -> None:
        """Count a cell's iterations, and tell about it, unless it has just been told."""
        name, now = job.cell.name, time.monotonic()
        # What a resumed run has done before is not counted.
        self.passed += job.done - self.seen.get(name, job.done)
        self.seen[name] = job.done
        if now - self.told.get(name, -math.inf) >= REPORT_EVERY:
            self.told[name] = now
            self.tell(f'{name}: {progress.stage} {progress.done}/{progress.total}')

    def tell(self, line: str) -> None:
        """Print a line with what is left of the whole study."""
        with self.queue.lock:
            left, cells = self.queue.iterations_left(), len(self.queue.left())
        spent = time.monotonic() - self.started
        hours = f', about {spent / self.passed * left / 3600:.1f} h' if self.passed else ''
        clock = time.strftime('%H:%M')
        line = f'{clock} {line}  ({cells} cells left{hours})'
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
