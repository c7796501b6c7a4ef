"""Make the study's tables and figures from its results: ``python tools/analysis/study_report.py``.

Reads ``docs/study/results.jsonl`` and nothing else. Writes the figures beside it, and the tables
between two marks in ``docs/study/README.md``.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from scipy import stats

matplotlib.use('Agg')

FOLDER = Path(__file__).resolve().parents[2] / 'docs' / 'study'
BEGIN, END = '<!-- begin of what study_report.py writes -->', '<!-- end -->'
BASELINE = 'ce'
CONFIDENCE = 0.95
DATA = {'camvid': 'CamVid', 'voc': 'VOC subset'}
METHODS = {
    'ce': 'CE',
    'bce': 'BCE',
    'affinity': 'Affinity',
    'rmi': 'RMI',
    'ce-dice': 'CE + Dice',
    'lovasz': 'Lovasz',
    'ce-crf1': 'CE & CRF-1',
    'ce-crf5': 'CE & CRF-5',
    'ce-crf10': 'CE & CRF-10',
    'rmi-crf1': 'RMI & CRF-1',
}
THIN = ('pole', 'sign symbol', 'fence', 'pedestrian', 'bicyclist')
TRIMAP = 'trimap/mIoU.'
SHOWN_BAND = 3  # pixels, in the tables
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#555555')

Entry = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its confidence interval, by Student's t."""

    mean: float
    half_width: float  # NaN of a single value
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Estimate':
        """Estimate the mean of what the values are drawn from.

        >>> Estimate.of([1.0, 3.0])
        Estimate(mean=2.0, half_width=12.706204736174694, count=2)
        """
        count, mean = len(values), float(np.mean(values))
        if count < 2:
            return cls(mean, np.nan, count)
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
        return cls(mean, float(quantile * np.std(values, ddof=1) / np.sqrt(count)), count)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width

    def __format__(self, specification: str) -> str:
        sign = '+' if '+' in specification else ''
        mean = f'{self.mean:{sign}.2f}'
        return mean if np.isnan(self.half_width) else f'{mean} ± {self.half_width:.2f}'


# Reading


def read_entries(file: Path) -> list[Entry]:
    """Read the lines of the results.

    Raises:
        ValueError: there are none.
    """
    entries = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    if not entries:
        raise ValueError(f'{file} holds no result yet: tools/study.py writes them')
    return entries


class Reported:
    """The reported runs on one data set: the latest of each method and seed."""

    def __init__(self, entries: Iterable[Entry], data: str) -> None:
        self.data = data
        self.runs: dict[str, dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            if entry['stage'] == 'report' and entry['data'] == data and not entry['repeat']:
                self.runs[entry['method']][entry['seed']] = entry

    def methods(self) -> list[str]:
        """Methods that have a run, those that are known by name first."""
        known = [method for method in METHODS if method in self.runs]
        return known + sorted(set(self.runs) - set(known))

    def values(self, method: str, measure: Callable[[Entry], float | None]) -> dict[int, float]:
        """A figure of every run of a method, by seed."""
        found = {seed: measure(entry) for seed, entry in sorted(self.runs[method].items())}
        return {seed: value for seed, value in found.items() if value is not None}

    def gains(
        self, method: str, measure: Callable[[Entry], float | None], over: str = BASELINE
    ) -> dict[int, float]:
        """By how much a method is above another with the same seed."""
        ours, theirs = self.values(method, measure), self.values(over, measure)
        return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def metric(name: str) -> Callable[[Entry], float | None]:
    """Read a metric of a run; None if it has none."""
    return lambda entry: entry['metrics'].get(name)


def thin_classes(entry: Entry) -> float | None:
    """Mean IoU of the classes of CamVid that are thin or small."""
    values = [entry['metrics'].get(f'IoU.{name}') for name in THIN]
    return None if None in values else float(np.mean(values))


def classes(reported: Reported) -> list[str]:
    """Classes of the data set, in its order."""
    names: dict[str, None] = {}
    for runs in reported.runs.values():
        for entry in runs.values():
            keys = [key for key in entry['metrics'] if key.startswith('IoU.')]
            names.update(dict.fromkeys(key.removeprefix('IoU.') for key in keys))
    return list(names)


def measures(data: str) -> dict[str, Callable[[Entry], float | None]]:
    """What the main table shows."""
    shown = {
        'mIoU': metric('mIoU'),
        'boundary IoU': metric('boundary/mIoU'),
        f'mIoU within {SHOWN_BAND} px': metric(f'{TRIMAP}{SHOWN_BAND}'),
        'thin classes': thin_classes,
        'aAcc': metric('aAcc'),
    }
    return shown if data == 'camvid' else {k: v for k, v in shown.items() if v != thin_classes}


def label(method: str) -> str:
    """Name of a method in tables."""
    return METHODS.get(method, method)


# Tables


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown; all columns but the first are right-aligned."""
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    return ['| ' + ' | '.join(line) + ' |' for line in lines]


def estimate(values: Mapping[int, float], specification: str = '') -> str:
    """A cell of a table: the mean with its interval, bold if that is a gain clear of 0."""
    if not values:
        return '-'
    found = Estimate.of(list(values.values()))
    text = f'{found:{specification}}'
    return f'**{text}**' if '+' in specification and found.is_clear else text


def tabulate_scores(reported: Reported) -> list[str]:
    """Mean and interval of every measure, and the mIoU of every seed."""
    shown = measures(reported.data)
    rows = []
    for method in reported.methods():
        runs = [entry for _, entry in sorted(reported.runs[method].items())]
        scores = [entry['metrics'].get('mIoU') for entry in runs]
        each = ', '.join('diverged' if score is None else f'{score:.2f}' for score in scores)
        factors = sorted({entry['lr_factor'] for entry in runs})
        rates = ', '.join(f'x {factor:g}' for factor in factors)
        cells = [estimate(reported.values(method, measure)) for measure in shown.values()]
        rows.append([label(method), rates, *cells, each])
    return make_table(['', 'learning rate', *shown, 'mIoU of each seed'], rows)


def tabulate_gains(reported: Reported) -> list[str]:
    """Difference to cross entropy, paired by seed."""
    shown = measures(reported.data)
    rows = []
    for method in reported.methods():
        each = reported.gains(method, metric('mIoU'))
        if method != BASELINE and each:
            cells = [estimate(reported.gains(method, m), '+') for m in shown.values()]
            rows.append(
                [
                    label(method),
                    str(len(each)),
                    *cells,
                    ', '.join(f'{v:+.2f}' for v in each.values()),
                ]
            )
    head = [f'above {label(BASELINE)}', 'seeds', *shown, 'mIoU of each seed']
    return make_table(head, rows) if rows else ['No pair of runs yet.']


def tabulate_classes(reported: Reported) -> list[str]:
    """Mean IoU of each class, and the gain of RMI."""
    methods = reported.methods()
    rows = []
    for name in classes(reported):
        measure = metric(f'IoU.{name}')
        means = [reported.values(method, measure).values() for method in methods]
        cells = [f'{np.mean(list(values)):.2f}' if values else '-' for values in means]
        rows.append([name, *cells, estimate(reported.gains('rmi', measure), '+')])
    return make_table(['IoU', *map(label, methods), 'RMI above CE'], rows)


def tabulate_cost(reported: Reported) -> list[str]:
    """Seconds and memory of an iteration."""
    rows = []
    for method in reported.methods():
        seconds, memory = (
            list(reported.values(method, lambda entry, key=key: entry.get(key)).values())
            for key in ('seconds_per_iteration', 'peak_memory_mb')
        )
        if seconds:
            rows.append([label(method), f'{np.median(seconds):.2f}', f'{np.median(memory):.0f}'])
    return make_table(['', 's per iteration', 'peak MB of the process'], rows)


def tabulate_tuning(entries: Iterable[Entry], data: str) -> list[str]:
    """MIoU of each method at each factor of the learning rate, the best in bold."""
    scores: dict[str, dict[float, float | None]] = defaultdict(dict)
    for entry in entries:
        if entry['stage'] == 'tuning' and entry['data'] == data:
            scores[entry['method']][entry['lr_factor']] = entry['metrics'].get('mIoU')
    factors = sorted({factor for found in scores.values() for factor in found})
    rows = []
    for method, found in scores.items():
        best = max((score for score in found.values() if score is not None), default=None)
        rows.append([label(method), *(_tuning_cell(found, factor, best) for factor in factors)])
    return make_table(['learning rate', *(f'x {factor:g}' for factor in factors)], rows)


def _tuning_cell(found: Mapping[float, float | None], factor: float, best: float | None) -> str:
    if factor not in found:
        return '-'
    score = found[factor]
    if score is None:
        return 'diverged'
    return f'**{score:.2f}**' if score == best else f'{score:.2f}'


def tabulate_repeats(entries: Sequence[Entry]) -> list[str]:
    """Runs with the same seed and settings as another, beside it."""
    first = {(e['cell'], e['config_hash']): e for e in entries if not e['repeat']}
    rows = []
    for entry in entries:
        original = first.get((entry['cell'].split('-repeat')[0], entry['config_hash']))
        if entry['repeat'] and original is not None:
            scores = [e['metrics'].get('mIoU') for e in (original, entry)]
            threads = [str(e['threads']) for e in (original, entry)]
            rows.append(
                [original['cell'], *(f'{score}' for score in scores), ' and '.join(threads)]
            )
    return make_table(['cell', 'mIoU', 'mIoU again', 'threads'], rows) if rows else []


# Figures


def draw_seeds(reported: Reported, file: Path) -> None:
    """MIoU of every run, runs of a seed joined, with the mean of each method."""
    methods = [m for m in reported.methods() if reported.values(m, metric('mIoU'))]
    figure, axes = plt.subplots(figsize=(1.6 + 0.9 * len(methods), 3.6), layout='constrained')
    values = [reported.values(method, metric('mIoU')) for method in methods]
    for seed in sorted({seed for found in values for seed in found}):
        heights = [found.get(seed, np.nan) for found in values]
        axes.plot(heights, 'o-', color='#999999', markersize=4, linewidth=0.8, zorder=1)
    for place, found in enumerate(values):
        ends = [place - 0.2, place + 0.2]
        axes.plot(ends, [np.mean(list(found.values()))] * 2, color=COLOURS[1], linewidth=2.5)
    axes.set_xticks(range(len(methods)), map(label, methods), rotation=30 * (len(methods) > 4))
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_ylabel('mIoU in %')
    axes.set_title(f'{DATA[reported.data]}: every run (a line is a seed) and means')
    _save(figure, file)


def draw_trimaps(reported: Reported, file: Path) -> None:
    """MIoU within a distance of true boundaries, as a curve for each method."""
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout='constrained')
    for method, colour in zip(reported.methods(), _cycle(), strict=False):
        entries = reported.runs[method].values()
        keys = [key for entry in entries for key in entry['metrics'] if key.startswith(TRIMAP)]
        widths = sorted({int(key.removeprefix(TRIMAP)) for key in keys})
        curve = [reported.values(method, metric(f'{TRIMAP}{width}')).values() for width in widths]
        means = [np.mean(list(values)) for values in curve]
        axes.plot(widths, means, 'o-', color=colour, markersize=3, label=label(method))
    axes.set_xlabel('within so many pixels of a true boundary')
    axes.set_ylabel('mIoU in %')
    axes.set_title(DATA[reported.data])
    axes.legend(frameon=False)
    _save(figure, file)


def draw_classes(reported: Reported, file: Path) -> None:
    """Gain of RMI on each class, with every seed and the interval of the mean."""
    figure, axes = plt.subplots(figsize=(5.6, 0.28 * len(classes(reported)) + 1.2))
    figure.set_layout_engine('constrained')
    for place, name in enumerate(classes(reported)):
        gains = list(reported.gains('rmi', metric(f'IoU.{name}')).values())
        if not gains:
            continue
        found = Estimate.of(gains)
        error = None if np.isnan(found.half_width) else found.half_width
        axes.errorbar(found.mean, place, xerr=error, fmt='o', color=COLOURS[0], capsize=3)
        axes.plot(gains, [place] * len(gains), '|', color='#999999', markersize=9, zorder=0)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(classes(reported))), classes(reported))
    axes.invert_yaxis()
    axes.set_xlabel('IoU of RMI above CE, in points')
    axes.set_title(f'{DATA[reported.data]}: mean, its 95 % interval, and every seed')
    _save(figure, file)


def _cycle() -> list[str]:
    return [*COLOURS] * 5


def _save(figure: plt.Figure, file: Path) -> None:
    for axes in figure.axes:
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(file, dpi=110, facecolor='white')
    plt.close(figure)


# The report


def report_data(entries: Sequence[Entry], data: str, folder: Path) -> list[str]:
    """All about one data set; draws its figures."""
    lines = [f'### {DATA[data]}', '']
    reported = Reported(entries, data)
    if reported.runs:
        pairs = any(reported.gains(m, metric('mIoU')) for m in reported.methods() if m != BASELINE)
        lines += [*tabulate_scores(reported), '', *tabulate_gains(reported), '']
        lines += _figure(folder, f'{data}_seeds.png', 'mIoU of every run', reported, draw_seeds)
        lines += _figure(folder, f'{data}_trimap.png', 'trimap curves', reported, draw_trimaps)
        lines += tabulate_classes(reported)
        lines += ['']
        if pairs and 'rmi' in reported.runs:
            lines += _figure(
                folder, f'{data}_classes.png', 'gain of each class', reported, draw_classes
            )
        lines += [*tabulate_cost(reported), '']
    lines += ['Tuning, at half the schedule on a seed of its own (mIoU):', '']
    return [*lines, *tabulate_tuning(entries, data), '']


def _figure(
    folder: Path,
    name: str,
    title: str,
    reported: Reported,
    draw: Callable[[Reported, Path], None],
) -> list[str]:
    draw(reported, folder / name)
    return [f'![{title}]({name})', '']


def write_report(entries: Sequence[Entry], folder: Path) -> list[str]:
    """Draw the figures and return the lines of the report."""
    lines = [
        f'{len(entries)} results, the last of {max(entry["finished"] for entry in entries)[:10]}. '
        f'Means with their {CONFIDENCE:.0%} intervals over seeds (Student); gains are paired by '
        'seed, and bold where the interval leaves out 0.',
        '',
    ]
    for data in DATA:
        if any(entry['data'] == data for entry in entries):
            lines += report_data(entries, data, folder)
    repeats = tabulate_repeats(entries)
    if repeats:
        lines += ['### The same seed again', '', *repeats, '']
    machines = {f'{entry["machine"]}, {entry["threads"]} thread(s) a run' for entry in entries}
    versions = {', '.join(f'{k} {v}' for k, v in entry['versions'].items()) for entry in entries}
    return [*lines, f'Machines: {"; ".join(sorted(machines))}. {"; ".join(sorted(versions))}.']


def insert(lines: Sequence[str], page: Path) -> None:
    """Put the lines between the marks of a page.

    Raises:
        ValueError: the page lacks a mark.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f'{page} lacks the lines {BEGIN} and {END}, between which the report goes')
    head, rest = text.split(BEGIN)
    tail = rest.split(END, 1)[1]
    page.write_text('\n'.join([head + BEGIN, '', *lines, '', END]) + tail)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Make tables and figures of the study')
    parser.add_argument('--results', type=Path, default=FOLDER / 'results.jsonl')
    parser.add_argument('--page', type=Path, default=FOLDER / 'README.md')
    return parser.parse_args()


def main() -> None:
    """Write the report as the command line says."""
    args = parse_args()
    lines = write_report(read_entries(args.results), args.page.parent)
    insert(lines, args.page)
    print(args.page)


if __name__ == '__main__':
    main()
