"""The choice of the runs to report, their values and their pairs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np

from tools.study.plan import Plan
from tools.study.platforms import Platform
from tools.study.results import Entry

BASELINE = 'ce'
THIN = ('pole', 'sign symbol', 'fence', 'pedestrian', 'bicyclist')  # or small, on CamVid
SHOWN_BAND = 3  # pixels, in the tables
TRIMAP = 'trimap/mIoU.'

Measure = Callable[[Entry], float | None]
Scores = Mapping[str, Mapping[float, float | None]]  # of a method at a factor, None if it diverged


def metric(name: str) -> Measure:
    """Read a metric of a run; None if it has none."""
    return lambda entry: entry['metrics'].get(name)


def thin_classes(entry: Entry) -> float | None:
    """Average the IoU of the classes of CamVid that are thin or small."""
    values = [entry['metrics'].get(f'IoU.{name}') for name in THIN]
    return None if None in values else float(np.mean(values))


def foreground(entry: Entry) -> float | None:
    """Read the IoU of the structure, where there are two classes."""
    names = [name for name in entry['metrics'] if name.startswith('IoU.')]
    return entry['metrics'][names[1]] if len(names) == 2 else None


MEASURES: dict[str, Measure] = {
    'mIoU': metric('mIoU'),
    'boundary IoU': metric('boundary/mIoU'),
    f'mIoU within {SHOWN_BAND} px': metric(f'{TRIMAP}{SHOWN_BAND}'),
    'thin classes': thin_classes,
    'aAcc': metric('aAcc'),
}
OVERVIEW = {name: MEASURES[name] for name in list(MEASURES)[:3]}  # which every data set has


class Reported:
    """The reported runs on one data set: the latest of each method and seed.

    Args:
        entries: results of one platform.
        data: name of the data set.
        plan: names methods and data sets, and tells variants.
    """

    def __init__(self, entries: Iterable[Entry], data: str, plan: Plan) -> None:
        self.data = data
        self.plan = plan
        self.runs: dict[str, dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            if entry['stage'] == 'report' and entry['data'] == data and not entry['repeat']:
                self.runs[entry['method']][entry['seed']] = entry

    @property
    def title(self) -> str:
        return title(self.plan, self.data)

    def label(self, method: str) -> str:
        """Name a method in tables."""
        return label(self.plan, method)

    def difference(self, method: str, over: str = BASELINE) -> str:
        """Name a difference in tables."""
        return difference_label(self.plan, method, over)

    def measures(self) -> dict[str, Measure]:
        """Choose what the tables of the data set show."""
        metrics = [entry['metrics'] for runs in self.runs.values() for entry in runs.values()]
        return shown_measures(metrics)

    def methods(self) -> list[str]:
        """List methods that have a run, less variants; those of the plan first, in its order."""
        known = [m for m in self.plan.methods if m in self.runs and not is_variant(self.plan, m)]
        return known + sorted(set(self.runs) - set(self.plan.methods))

    def variants(self) -> list[str]:
        """List variants that have a run."""
        return [m for m in self.plan.methods if m in self.runs and is_variant(self.plan, m)]

    def gainers(self) -> list[str]:
        """List methods of the headline that have a run beside the baseline with the same seed."""
        return [m for m in self.plan.headline if self.gains(m, MEASURES['mIoU'])]

    def classes(self) -> list[str]:
        """List the classes of the data set, in its order."""
        names: dict[str, None] = {}
        for runs in self.runs.values():
            for entry in runs.values():
                keys = [key for key in entry['metrics'] if key.startswith('IoU.')]
                names.update(dict.fromkeys(key.removeprefix('IoU.') for key in keys))
        return list(names)

    def values(self, method: str, measure: Measure) -> dict[int, float]:
        """Read a figure of every run of a method, by seed."""
        found = {seed: measure(entry) for seed, entry in sorted(self.runs[method].items())}
        return {seed: value for seed, value in found.items() if value is not None}

    def gains(self, method: str, measure: Measure, over: str = BASELINE) -> dict[int, float]:
        """Subtract another method's run with the same seed."""
        ours, theirs = self.values(method, measure), self.values(over, measure)
        return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def shown_measures(metrics: Sequence[Mapping[str, float]]) -> dict[str, Measure]:
    """Choose measures by the classes: all five on CamVid; of two classes, the structure's IoU."""
    names = {key.removeprefix('IoU.') for each in metrics for key in each if key.startswith('IoU.')}
    chosen = {k: m for k, m in MEASURES.items() if m is not thin_classes or set(THIN) <= names}
    return {**chosen, 'foreground IoU': foreground} if len(names) == 2 else chosen


def label(plan: Plan, method: str) -> str:
    """Name a method in tables, as the plan does."""
    found = plan.methods.get(method)
    return (found and found.label) or method


def difference_label(plan: Plan, method: str, over: str = BASELINE) -> str:
    """Name a difference in tables, such as ``RMI - CE``."""
    return f'{label(plan, method)} - {label(plan, over)}'


def title(plan: Plan, data: str) -> str:
    """Name a data set in tables, as the plan does."""
    return plan.data.get(data, {}).get('title', data)


def is_variant(plan: Plan, method: str) -> bool:
    """Tell whether a method is compared with another one than cross entropy."""
    return method in plan.methods and plan.methods[method].variant_of is not None


def by_platform(entries: Iterable[Entry]) -> dict[Platform, list[Entry]]:
    """Part results by what they were computed on; those of CPUs come first."""
    parts: dict[Platform, list[Entry]] = defaultdict(list)
    for entry in entries:
        parts[Platform.of(entry)].append(entry)
    return dict(sorted(parts.items(), key=lambda part: str(part[0])))


def tuning_runs(entries: Iterable[Entry], data: str) -> dict[str, dict[float, list[Entry]]]:
    """Find the tuning runs of each method at each factor of the learning rate, without repeats."""
    runs: dict[str, dict[float, dict[str, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for entry in entries:
        if entry['stage'] == 'tuning' and entry['data'] == data and not entry['repeat']:
            runs[entry['method']][entry['lr_factor']][entry['cell']] = entry
    return {
        method: {factor: list(cells.values()) for factor, cells in found.items()}
        for method, found in runs.items()
    }


def seeds_of(runs: Mapping[str, Mapping[float, Sequence[Entry]]]) -> str:
    """Tell of how many seeds the scores of tuning runs are."""
    count = max(len(cells) for found in runs.values() for cells in found.values())
    return 'one seed' if count == 1 else f'mean of {count} seeds'


def tuning_scores(runs: Mapping[str, Mapping[float, Sequence[Entry]]], plan: Plan) -> Scores:
    """Average mIoU over seeds, by method and factor, without variants; None if one diverged."""
    return {
        method: {factor: _mean_score(cells) for factor, cells in found.items()}
        for method, found in runs.items()
        if not is_variant(plan, method)
    }


def _mean_score(cells: Sequence[Entry]) -> float | None:
    scores = [entry['metrics'].get('mIoU') for entry in cells]
    return None if None in scores else float(np.mean(scores))


def find_repeats(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Find runs with the seed and settings of a latest run of their cell, each after that one."""
    first = {entry['cell']: entry for entry in entries if not entry['repeat']}
    pairs = [(first.get(e['cell'].split('-repeat')[0]), e) for e in entries if e['repeat']]
    return [(a, b) for a, b in pairs if a and a['config_hash'] == b['config_hash']]


def nearest(runs: Iterable[Entry], entry: Entry) -> Entry:
    """Find the run that ended nearest in time."""
    end = datetime.fromisoformat(entry['finished'])
    return min(runs, key=lambda run: abs(datetime.fromisoformat(run['finished']) - end))


def difference(ours: float | None, theirs: float | None) -> float | None:
    """Subtract, unless one is missing."""
    return None if ours is None or theirs is None else ours - theirs
