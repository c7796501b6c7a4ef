"""The results: a line of JSON for each finished cell."""

import functools
import itertools
import json
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.study.fingerprint import fingerprint
from tools.study.plan import Cell, Plan
from tools.study.platforms import Platform

Entry = dict[str, Any]


def read_entries(place: Path) -> list[Entry]:
    """Read the results in a file, ``NAME.jsonl``, or in a folder of such files.

    Raises:
        ValueError: there is no such file or folder, no line in it, or one that is no result.
    """
    if not place.exists():
        raise ValueError(f'there is no {place}: python tools/study run --results {place} writes it')
    entries = list(_read_lines(place))
    if not entries:
        raise ValueError(
            f'{place} holds no result yet: python tools/study run --results {place} adds them'
        )
    return entries


def _read_lines(place: Path) -> Iterator[Entry]:
    for file in [place] if is_file(place) else sorted(place.glob('*.jsonl')):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            if line.strip():
                yield _read_entry(line, f'{file}, line {number},')


def is_file(place: Path) -> bool:
    """Tell whether results are in one file, which need not be there yet, or in a folder."""
    return place.suffix == '.jsonl' or place.is_file()


def _read_entry(line: str, place: str) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ValueError(f'{place} is not whole ({error}): delete the line') from error
    if not isinstance(entry, dict) or 'cell' not in entry:
        raise ValueError(f'{place} is no result of tools/study, which has a cell: delete the line')
    return entry


class Results:
    """The results: read once, and appended to.

    A line counts for the plan as long as the cell would train the same network today on the same
    platform.

    Args:
        place: a file, ``NAME.jsonl``, or a folder with a file for each data set; need not be there
            yet.
        platform: whose results are asked for.
    """

    def __init__(self, place: Path, platform: Platform | None = None) -> None:
        self.place = place
        self.platform = platform or Platform()
        self.entries: list[Entry] = []
        self._by_cell: dict[str, dict[Platform, list[Entry]]] = defaultdict(dict)
        self._platforms: dict[Platform, None] = {}  # in the order of their first lines
        for entry in _read_lines(place) if place.exists() else ():
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        platform = Platform.of(entry)
        self.entries.append(entry)
        self._by_cell[entry['cell']].setdefault(platform, []).append(entry)
        self._platforms[platform] = None

    def append(self, entry: Entry) -> None:
        """Add a line, which is on the disk afterwards."""
        self._keep(entry)
        file = self.place if is_file(self.place) else self.place / f'{entry["data"]}.jsonl'
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open('a') as stream:
            stream.write(json.dumps(entry, separators=(',', ':')) + '\n')
            stream.flush()
            os.fsync(stream.fileno())

    def named(self, name: str) -> list[Entry]:
        """List all lines about a cell."""
        return list(itertools.chain(*self._by_cell[name].values()))

    def find(self, plan: Plan, cell: Cell, platform: Platform | None = None) -> Entry | None:
        """Find the result of a cell, if it has one of its present settings."""
        platform = platform or self.platform
        factor = self.factor(plan, cell)
        named = self._by_cell[cell.name].get(platform)
        if factor is None or not named:
            return None
        current = _config_hash(plan, cell, factor, platform)
        fitting = [entry for entry in named if entry['config_hash'] == current]
        return fitting[-1] if fitting else None

    def factor(self, plan: Plan, cell: Cell) -> float | None:
        """Choose the factor of the learning rate that a cell trains at, None before it is known.

        It is the one of the best mIoU, in the mean of the seeds that tune; of equals, the nearest
        to 1. A rate is a setting like others, so one that was tuned on another platform is taken
        where this one has tuned none. Where nothing tunes, it is 1.
        """
        tuners = plan.tuning_of(cell)
        if cell.tunes or not tuners:
            return cell.factor or 1.0
        scores = self._tuning_scores(plan, tuners)
        if scores is None:
            return None
        return best_factor({factor: statistics.mean(each) for factor, each in scores.items()})

    def is_tuned_elsewhere(self, plan: Plan, cell: Cell) -> bool:
        """Tell whether a cell tunes a rate that not this platform has found, but another one."""
        tuners = plan.tuning_of(cell) if cell.tunes else []
        here = self._scores_on(self.platform, plan, tuners)
        return here is None and self._tuning_scores(plan, tuners) is not None

    def _tuning_scores(self, plan: Plan, cells: list[Cell]) -> dict[float, list[float]] | None:
        """Collect the mIoU of cells that tune by factor, all of one platform."""
        for platform in dict.fromkeys([self.platform, *self._platforms]):
            scores = self._scores_on(platform, plan, cells)
            if scores is not None:
                return scores
        return None

    def _scores_on(
        self, platform: Platform, plan: Plan, cells: list[Cell]
    ) -> dict[float, list[float]] | None:
        """Collect mIoU by factor, None if one is missing; of a run that diverged, -inf."""
        scores: dict[float, list[float]] = {}
        for cell in cells:
            result = self.find(plan, cell, platform)
            if result is None:
                return None
            assert cell.factor is not None
            scores.setdefault(cell.factor, []).append(result['metrics'].get('mIoU', -math.inf))
        return scores


@functools.cache  # it is asked for all cells whenever one is taken
def _config_hash(plan: Plan, cell: Cell, factor: float, platform: Platform) -> str:
    options = {**plan.options(cell, factor), **platform.options}
    return fingerprint(plan.config_file(cell), options)


def best_factor(scores: Mapping[float, float]) -> float:
    """Choose the factor of the learning rate with the best score; of equals, the nearest to 1."""
    return max(scores, key=lambda factor: (scores[factor], -abs(math.log(factor))))
