"""The time that cells take, and the choice of those that still fit."""

import math
import time
from collections.abc import Callable

from tools.study.job import Job

START_UP = 25.0  # seconds of a cell that are not iterations: imports twice, and the test
FIRST_GUESS = {True: 1.0, False: 0.05}  # seconds of an iteration on a CPU, and on a card


class Budget:
    """Time that is left, and what cells of each kind have taken.

    Args:
        minutes: from now on; None for no end.
        on_cpu: whether cells run on CPUs.
        clock: seconds that pass.
    """

    def __init__(
        self, minutes: float | None, on_cpu: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.deadline = math.inf if minutes is None else clock() + 60 * minutes
        self.guess = FIRST_GUESS[on_cpu]
        self.paces: dict[str, float] = {}  # seconds of an iteration, by kind

    @property
    def seconds_left(self) -> float:
        return self.deadline - self.clock()

    @property
    def is_over(self) -> bool:
        return self.seconds_left <= 0

    def learn(self, job: Job, seconds: float, iterations: int) -> None:
        """Note what a cell took for so many iterations and its test."""
        if iterations > 0:
            self.paces[job.kind] = max(0.0, seconds - START_UP) / iterations

    def estimate(self, job: Job) -> float:
        """Estimate the seconds that a cell takes.

        By cells of its kind that are over; else by the slowest of any kind; else by a guess.
        """
        pace = self.paces.get(job.kind, max(self.paces.values(), default=self.guess))
        return START_UP + pace * (job.iterations - job.done)

    def fits(self, job: Job) -> bool:
        """Tell whether a cell will be over in time."""
        return self.estimate(job) <= self.seconds_left
