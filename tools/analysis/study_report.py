"""Make the study's tables and figures from its results: ``python tools/analysis/study_report.py``.

Reads ``docs/study/results.jsonl`` and the configs that it names. Writes the figures beside it, the
tables between two marks in ``docs/study/README.md``, and the headline and the paper's tables 4 and
1 between such marks in ``README.md``. Of results of your own, ``--results FILE``, it makes a page
beside them and leaves the front page alone.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from estimates import CONFIDENCE, Estimate
from figure_theme import COLOURS, apply_theme, save
from make_tables import make_tables
from matplotlib import pyplot as plt
from table_formats import to_markdown
from test_results import read_entries, read_results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs' / 'study' / 'results.jsonl'
BEGIN, END = '<!-- begin of the {} that study_report.py writes -->', '<!-- end -->'
BASELINE = 'ce'
DATA = {
    'camvid': 'CamVid',
    'camvid-twice': 'CamVid, twice the schedule',
    'camvid-folds': 'CamVid in folds',
    'voc': 'VOC subset',
    'voc-twice': 'VOC subset, twice the schedule',
}
METHODS = {
    'ce': 'CE',
    'bce': 'BCE',
    'affinity': 'Affinity',
    'rmi': 'RMI',
    'ce-dice': 'CE + Dice',
    'lovasz': 'Lovasz',
    'ce-rmi': 'CE + region term',
    'ce-rmi-at-ce': 'CE + region term, rate of CE',
    'ce-rmi-ridge1e-3': 'CE + region term, ridge 1e-3',
    'ce-rmi-weight5': 'CE + region term, weight 5',
    'ce-crf1': 'CE & CRF-1',
    'ce-crf5': 'CE & CRF-5',
    'ce-crf10': 'CE & CRF-10',
    'rmi-crf1': 'RMI & CRF-1',
}
VARIANTS = {  # of RMI, which are compared with it
    'rmi-df1': 'DF 1',
    'rmi-df2': 'DF 2',
    'rmi-df6': 'DF 6',
    'rmi-r1': 'R 1',
    'rmi-r5': 'R 5',
    'rmi-max': 'max pooling',
    'rmi-lambda0.25': 'lambda 0.25',
    'rmi-lambda0.75': 'lambda 0.75',
    'rmi-lambda0.9': 'lambda 0.9',
    'rmi-paper': 'mean covariance, ridge 1e-6',
    'rmi-ridge1e-2': 'ridge 1e-2',
    'rmi-ridge1e-3': 'ridge 1e-3',
    'rmi-warmup': 'region term brought in late',
    'rmi-exclude': 'ignored regions excluded',
}
THIN = ('pole', 'sign symbol', 'fence', 'pedestrian', 'bicyclist')
SHOWN_BAND = 3  # pixels, in the tables
HEADLINE = ('rmi', 'ce-rmi', 'ce-rmi-at-ce', 'ce-rmi-ridge1e-3', 'ce-crf1')
TRIMAP = 'trimap/mIoU.'

Entry = dict[str, Any]
Scores = Mapping[str, Mapping[float, float | None]]  # of a method at a factor, None if it diverged


# Selecting


class Reported:
    """The reported runs on one data set: the latest of each method and seed."""

    def __init__(self, entries: Iterable[Entry], data: str) -> None:
        self.data = data
        self.runs: dict[str, dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            if entry['stage'] == 'report' and entry['data'] == data and not entry['repeat']:
                self.runs[entry['method']][entry['seed']] = entry

    def methods(self) -> list[str]:
        """Methods that have a run, less variants of RMI; those that are known by name first."""
        known = [method for method in METHODS if method in self.runs]
        return known + sorted(set(self.runs) - set(known) - set(VARIANTS))

    def variants(self) -> list[str]:
        """Variants of RMI that have a run."""
        return [variant for variant in VARIANTS if variant in self.runs]

    def gainers(self) -> list[str]:
        """Methods of the headline that have a run beside the baseline with the same seed."""
        return [method for method in HEADLINE if self.gains(method, metric('mIoU'))]

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


MEASURES: dict[str, Callable[[Entry], float | None]] = {
    'mIoU': metric('mIoU'),
    'boundary IoU': metric('boundary/mIoU'),
    f'mIoU within {SHOWN_BAND} px': metric(f'{TRIMAP}{SHOWN_BAND}'),
    'thin classes': thin_classes,
    'aAcc': metric('aAcc'),
}


def measures(data: str) -> dict[str, Callable[[Entry], float | None]]:
    """What the main table of a data set shows."""
    return {k: v for k, v in MEASURES.items() if data.startswith('camvid') or v != thin_classes}


def label(method: str) -> str:
    """Name of a method in tables."""
    return {**METHODS, **VARIANTS}.get(method, method)


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


def tabulate_scores(reported: Reported, methods: Iterable[str]) -> list[str]:
    """Mean and interval of every measure, and the mIoU of every seed."""
    shown = measures(reported.data)
    rows = []
    for method in methods:
        runs = [entry for _, entry in sorted(reported.runs[method].items())]
        scores = [entry['metrics'].get('mIoU') for entry in runs]
        each = ', '.join('diverged' if score is None else f'{score:.2f}' for score in scores)
        factors = sorted({entry['lr_factor'] for entry in runs})
        rates = ', '.join(f'x {factor:g}' for factor in factors)
        cells = [estimate(reported.values(method, measure)) for measure in shown.values()]
        rows.append([label(method), rates, *cells, each])
    return make_table(['', 'learning rate', *shown, 'mIoU of each seed'], rows)


def tabulate_gains(reported: Reported, methods: Iterable[str], over: str) -> list[str]:
    """How much methods are above another, paired by seed."""
    pairs = {label(method): (method, over) for method in methods if method != over}
    return _tabulate_pairs(reported, f'above {label(over)}', pairs)


def tabulate_lead(reported: Reported, method: str, others: Iterable[str]) -> list[str]:
    """How much a method is above others, paired by seed."""
    pairs = {label(other): (method, other) for other in others if other != method}
    return _tabulate_pairs(reported, f'{label(method)} above', pairs)


def _tabulate_pairs(
    reported: Reported, title: str, pairs: Mapping[str, tuple[str, str]]
) -> list[str]:
    shown = measures(reported.data)
    rows = []
    for name, (method, over) in pairs.items():
        each = reported.gains(method, metric('mIoU'), over)
        if each:
            cells = [estimate(reported.gains(method, m, over), '+') for m in shown.values()]
            seeds = ', '.join(f'{gain:+.2f}' for gain in each.values())
            rows.append([name, str(len(each)), *cells, seeds])
    head = [title, 'seeds', *shown, 'mIoU of each seed']
    return make_table(head, rows) if rows else ['No pair of runs yet.']


def tabulate_classes(reported: Reported) -> list[str]:
    """Mean IoU of each class, and the gains of the headline's methods."""
    methods, gainers = reported.methods(), reported.gainers()
    rows = []
    for name in classes(reported):
        measure = metric(f'IoU.{name}')
        means = [reported.values(method, measure).values() for method in methods]
        cells = [f'{np.mean(list(values)):.2f}' if values else '-' for values in means]
        gains = [estimate(reported.gains(method, measure), '+') for method in gainers]
        rows.append([name, *cells, *gains])
    titles = [f'{label(method)} above {label(BASELINE)}' for method in gainers]
    return make_table(['IoU', *map(label, methods), *titles], rows)


def tabulate_memory(reported: Reported) -> list[str]:
    """Peak memory of training; seconds would be those of whatever machines the runs came to."""
    rows = []
    for method in [*reported.methods(), *reported.variants()]:
        if any(entry.get('run_of') for entry in reported.runs[method].values()):
            continue  # trained by another method
        memory = reported.values(method, lambda entry: entry.get('peak_memory_mb'))
        if memory:
            rows.append([label(method), f'{np.median(list(memory.values())):.0f}'])
    return make_table(['', 'peak MB of the process in training'], rows)


def tuning_runs(entries: Iterable[Entry], data: str) -> dict[str, dict[float, Entry]]:
    """The tuning run of each method at each factor of the learning rate, without repeats."""
    runs: dict[str, dict[float, Entry]] = defaultdict(dict)
    for entry in entries:
        if entry['stage'] == 'tuning' and entry['data'] == data and not entry['repeat']:
            runs[entry['method']][entry['lr_factor']] = entry
    return runs


def tuning_scores(runs: Mapping[str, Mapping[float, Entry]]) -> Scores:
    """MIoU of each method but variants of RMI at each factor, None if it diverged."""
    return {
        method: {factor: entry['metrics'].get('mIoU') for factor, entry in found.items()}
        for method, found in runs.items()
        if method not in VARIANTS
    }


def tabulate_choices(entries: Sequence[Entry], data: str) -> list[str]:
    """RMI as released and with one thing changed, at the rates that both were run at.

    A variant is compared with the run of RMI that is nearest in time, for machines differ.
    """
    runs, shown = tuning_runs(entries, data), measures(data)
    rows = []
    for factor, first in sorted(runs.get('rmi', {}).items()):
        released = [first, *(again for run, again in find_repeats(entries) if run is first)]
        variants = [runs[name][factor] for name in VARIANTS if factor in runs.get(name, {})]
        for entry in [*released, *variants] if variants else []:
            values = [measure(entry) for measure in shown.values()]
            levels = ['diverged' if value is None else f'{value:.2f}' for value in values]
            nearest = _nearest(released, entry)
            ours, theirs = MEASURES['mIoU'](entry), MEASURES['mIoU'](nearest)
            gain = None if entry is nearest else _gain(ours, theirs)
            name = 'RMI as released' if entry is nearest else label(entry['method'])
            day = entry['finished'][:10]
            rows.append([name, f'x {factor:g}', *levels, _cell(gain, '+'), day])
    head = ['', 'learning rate', *shown, 'mIoU above RMI', 'run on']
    return make_table(head, rows) if rows else []


def tabulate_tuning(scores: Scores) -> list[str]:
    """MIoU of each method at each factor of the learning rate, the best of several in bold."""
    factors = sorted({factor for found in scores.values() for factor in found})
    rows = []
    for method, found in scores.items():
        known = [score for score in found.values() if score is not None]
        best = max(known) if known and len(found) > 1 else None
        rows.append([label(method), *(_tuning_cell(found, factor, best) for factor in factors)])
    return make_table(['learning rate', *(f'x {factor:g}' for factor in factors)], rows)


def _tuning_cell(found: Mapping[float, float | None], factor: float, best: float | None) -> str:
    if factor not in found:
        return '-'
    score = found[factor]
    if score is None:
        return 'diverged'
    return f'**{score:.2f}**' if score == best else f'{score:.2f}'


def find_repeats(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Runs with the seed and settings of a latest run of their cell, each after that one."""
    first = {entry['cell']: entry for entry in entries if not entry['repeat']}
    pairs = [(first.get(e['cell'].split('-repeat')[0]), e) for e in entries if e['repeat']]
    return [(a, b) for a, b in pairs if a and a['config_hash'] == b['config_hash']]


def tabulate_repeats(entries: Sequence[Entry]) -> list[str]:
    """Runs with the same seed and settings as another, beside it, and their gains as well."""
    repeats: dict[tuple[str, int, int], dict[str, tuple[Entry, Entry]]] = defaultdict(dict)
    for original, entry in find_repeats(entries):
        key = (entry['data'], entry['seed'], entry['repeat'])
        repeats[key][entry['method']] = (original, entry)
    rows = []
    for pairs in repeats.values():
        scores = {
            method: [[measure(entry) for entry in pair] for measure in MEASURES.values()]
            for method, pair in pairs.items()
        }
        for method, pair in pairs.items():
            threads = ' and '.join(str(entry['threads']) for entry in pair)
            cells = [_first_and_again(*values) for values in scores[method]]
            rows.append([pair[0]['cell'], *cells, threads])
        for method in scores if BASELINE in scores else ():
            if method != BASELINE:
                both = zip(scores[method], scores[BASELINE], strict=True)
                cells = [_first_and_again(*map(_gain, *values), '+') for values in both]
                rows.append([f'{label(method)} above {label(BASELINE)}', *cells, '-'])
    return make_table(['first, and again', *MEASURES, 'threads'], rows) if rows else []


def tabulate_all_pairs(entries: Sequence[Entry]) -> list[str]:
    """Gains over cross entropy with every repeat of both as a pair of its own."""
    entries = [e for e in entries if not e['repeat']] + [e for _, e in find_repeats(entries)]
    rounds = sorted({entry['repeat'] for entry in entries})
    rows = []
    for data, title in DATA.items():
        parts = [
            Reported([{**e, 'repeat': 0} for e in entries if e['repeat'] == part], data)
            for part in rounds
        ]
        for method in dict.fromkeys(method for part in parts[1:] for method in part.methods()):
            gains = [
                [gain for part in parts for gain in part.gains(method, measure).values()]
                for measure in MEASURES.values()
            ]
            if method != BASELINE and any(
                part.gains(method, MEASURES['mIoU']) for part in parts[1:]
            ):
                cells = [estimate(dict(enumerate(found)), '+') for found in gains]
                name = f'{title}, {label(method)} above {label(BASELINE)}'
                rows.append([name, str(len(gains[0])), *cells])
    return make_table(['', 'pairs', *MEASURES], rows) if rows else []


def _nearest(runs: Iterable[Entry], entry: Entry) -> Entry:
    """The run that ended nearest in time."""
    end = datetime.fromisoformat(entry['finished'])
    return min(runs, key=lambda run: abs(datetime.fromisoformat(run['finished']) - end))


def _gain(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _first_and_again(first: float | None, again: float | None, sign: str = '') -> str:
    return f'{_cell(first, sign)}, {_cell(again, sign)}'


def _cell(value: float | None, sign: str = '') -> str:
    return '-' if value is None else f'{value:{sign}.2f}'


def tabulate_headline(entries: Sequence[Entry]) -> list[str]:
    """What cross entropy reaches on each data set, and by how much others are above it."""
    rows = []
    for data, title in DATA.items():
        reported = Reported(entries, data)
        pairs = {m: reported.gains(m, MEASURES['mIoU']) for m in reported.gainers()}
        if pairs:
            levels = [reported.values(BASELINE, measure) for measure in MEASURES.values()]
            seeds = str(len(levels[0]))
            rows.append([f'{title}, {label(BASELINE)}', seeds, *map(estimate, levels)])
        for method, gains in pairs.items():
            cells = [
                estimate(reported.gains(method, measure), '+') for measure in MEASURES.values()
            ]
            rows.append([f'{title}, {label(method)} above it', str(len(gains)), *cells])
    return make_table(['', 'seeds', *MEASURES], rows) if rows else ['No pair of runs yet.']


# Figures


def draw_seeds(reported: Reported, file: Path) -> None:
    """MIoU of every run, runs of a seed joined, with the mean of each method."""
    methods = [m for m in reported.methods() if reported.values(m, metric('mIoU'))]
    figure, axes = plt.subplots(figsize=(1.6 + 0.9 * len(methods), 3.6), layout='constrained')
    values = [reported.values(method, metric('mIoU')) for method in methods]
    for seed in sorted({seed for found in values for seed in found}):
        places = [place for place, found in enumerate(values) if seed in found]
        heights = [values[place][seed] for place in places]
        axes.plot(places, heights, 'o-', color='#999999', markersize=4, linewidth=0.8, zorder=1)
    for place, found in enumerate(values):
        ends = [place - 0.2, place + 0.2]
        axes.plot(ends, [np.mean(list(found.values()))] * 2, '-', color=COLOURS[1], linewidth=2.5)
    axes.set_xticks(range(len(methods)), map(label, methods), rotation=30, ha='right')
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_ylabel('mIoU in %')
    axes.set_title(f'{DATA[reported.data]}:\nevery run (a line is a seed) and means')
    save(figure, file)


def draw_tuning(scores: Scores, file: Path) -> None:
    """MIoU over the factor of the learning rate, as a curve for each method of several factors."""
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout='constrained')
    curves = {method: found for method, found in scores.items() if len(found) > 1}
    for method, found in curves.items():
        heights = [np.nan if found[x] is None else found[x] for x in sorted(found)]
        axes.plot(sorted(found), heights, marker='o', markersize=4, label=label(method))
    factors = sorted({factor for found in curves.values() for factor in found})
    axes.set_xscale('log')
    axes.set_xticks(factors, [f'{factor:g}' for factor in factors], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel('factor of the learning rate')
    axes.set_ylabel('mIoU in %')
    axes.set_title('half the schedule, one seed')
    axes.legend()
    save(figure, file)


def draw_trimaps(reported: Reported, file: Path) -> None:
    """MIoU within a distance of true boundaries, and how much of it is gained on the baseline."""
    figure, (level, gain) = plt.subplots(ncols=2, figsize=(9, 3.6), layout='constrained')
    for method in reported.methods():
        entries = reported.runs[method].values()
        keys = [key for entry in entries for key in entry['metrics'] if key.startswith(TRIMAP)]
        widths = sorted({int(key.removeprefix(TRIMAP)) for key in keys})
        bands = [metric(f'{TRIMAP}{width}') for width in widths]
        for axes, read in ((level, reported.values), (gain, reported.gains)):
            values = [list(read(method, measure).values()) for measure in bands]
            means = [np.mean(found) if found else np.nan for found in values]
            axes.plot(widths, means, marker='o', markersize=3, label=label(method))
    for axes in (level, gain):
        axes.set_xlabel('within so many pixels of a true boundary')
    level.set_ylabel('mIoU in %')
    gain.set_ylabel(f'mIoU above {label(BASELINE)}, paired by seed')
    level.legend(fontsize='small')
    figure.suptitle(DATA[reported.data])
    save(figure, file)


def draw_classes(reported: Reported, file: Path) -> None:
    """Gain of the headline's methods on each class: mean, interval from 3 seeds on, and seeds."""
    names, methods = classes(reported), reported.gainers()
    height = 1.4 + (0.12 + 0.12 * len(methods)) * len(names)
    figure, axes = plt.subplots(figsize=(5.6, height), layout='constrained')
    shifts = (np.arange(len(methods)) - (len(methods) - 1) / 2) * 0.8 / len(methods)
    for method, shift, colour in zip(methods, shifts, COLOURS, strict=False):
        places = np.arange(len(names)) + shift
        gains = [list(reported.gains(method, metric(f'IoU.{name}')).values()) for name in names]
        found = [Estimate.of(values) if values else None for values in gains]
        means = [each.mean if each else np.nan for each in found]
        # That of two seeds is wider than all else in the figure.
        errors = [each.half_width if each and each.count > 2 else 0.0 for each in found]
        style = dict(fmt='o', color=colour, markersize=4, capsize=2, linewidth=1.2)
        axes.errorbar(means, places, xerr=errors, label=label(method), **style)
        for place, values in zip(places, gains, strict=True):
            axes.plot(values, [place] * len(values), '|', color=colour, markersize=7, alpha=0.5)
    axes.axvline(0, color='#7f7f7f', linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f'IoU above {label(BASELINE)}, in points')
    axes.set_title(
        f'{DATA[reported.data]}:\nmean, its 95 % interval from three seeds on,\nand every seed'
    )
    figure.legend(loc='outside lower center', ncols=2, fontsize='small')
    save(figure, file)


# The report


def report_data(entries: Sequence[Entry], data: str, folder: Path) -> list[str]:
    """All about one data set; draws its figures."""
    lines = [f'### {DATA[data]}', '']
    reported = Reported(entries, data)
    methods, variants = reported.methods(), reported.variants()

    def figure(name: str, title: str, draw: Callable[[Reported, Path], None]) -> list[str]:
        draw(reported, folder / f'{data}_{name}.png')
        return [f'![{title}]({data}_{name}.png)', '']

    if methods:
        lines += [*tabulate_scores(reported, methods), '']
        lines += [*tabulate_gains(reported, methods, BASELINE), '']
        if {'rmi', BASELINE} < set(methods):
            others = [method for method in methods if method != BASELINE]
            lines += [*tabulate_lead(reported, 'rmi', others), '']
        lines += figure('seeds', 'mIoU of every run', draw_seeds)
        lines += figure('trimap', 'trimap curves', draw_trimaps)
        lines += [*tabulate_classes(reported), '']
        if reported.gainers():
            lines += figure('classes', 'gain of each class', draw_classes)
        lines += [*tabulate_memory(reported), '']
    if variants:
        lines += ["RMI's choices, one changed at a time, at RMI's learning rate:", '']
        lines += [*tabulate_scores(reported, variants), '']
        lines += [*tabulate_gains(reported, variants, 'rmi'), '']
    runs = tuning_runs(entries, data)
    choices = tabulate_choices(entries, data)
    if choices:
        lines += [
            "RMI's choices, one changed at a time, at half the schedule on the tuning seed; "
            'each above the run of RMI as released that is nearest in time:',
            '',
        ]
        lines += [*choices, '']
    scores = tuning_scores(runs)
    if scores:
        lines += ['Tuning, at half the schedule on a seed of its own (mIoU):', '']
        lines += [*tabulate_tuning(scores), '']
        if sum(len(found) > 1 for found in scores.values()) > 1:
            lines += figure(
                'tuning', 'mIoU by learning rate', lambda _, file: draw_tuning(scores, file)
            )
    return lines


def write_report(entries: Sequence[Entry], folder: Path) -> list[str]:
    """Draw the figures and return the lines of the report."""
    apply_theme('light')
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
    pairs = tabulate_all_pairs(entries)
    if pairs:
        lines += ['Gains over seeds and repeats, a repeat as a pair of its own:', '', *pairs, '']
    machines = {f'{entry["machine"]}, {entry["threads"]} thread(s) a run' for entry in entries}
    versions = {', '.join(f'{k} {v}' for k, v in entry['versions'].items()) for entry in entries}
    return [*lines, f'Machines: {"; ".join(sorted(machines))}. {"; ".join(sorted(versions))}.']


def tabulate_paper(file: Path) -> dict[str, list[str]]:
    """Tables 4 and 1 of the paper, of what the results say on CamVid and VOC."""
    tables = make_tables(read_results([file]), wanted=['1', '4'])
    camvid = tables.get('table4-CamVidDataset') or tables['table4']
    found = {'table 4': camvid, 'table 1': tables['table1']}
    return {name: to_markdown(table).splitlines() for name, table in found.items()}


def insert(lines: Sequence[str], page: Path, name: str) -> None:
    """Put the lines between the marks of that name of a page.

    Raises:
        ValueError: the page lacks a mark.
    """
    text, begin = page.read_text(), BEGIN.format(name)
    head, _, rest = text.partition(begin)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f'{page} lacks the lines {begin} and {END}, between which the {name} goes')
    page.write_text('\n'.join([head + begin, '', *lines, '', END]) + tail)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Make tables and figures of the study')
    parser.add_argument('--results', type=Path, default=RESULTS, help='that study.py wrote')
    parser.add_argument(
        '--page', type=Path, help='to write to; README.md beside the results. Figures go beside it'
    )
    parser.add_argument(
        '--front', type=Path, help="for the headline; the project's README.md has its own results'"
    )
    return parser.parse_args()


def main() -> None:
    """Write the report as the command line says."""
    args = parse_args()
    entries = read_entries(args.results)
    page: Path = args.page or args.results.with_name('README.md')
    if not page.exists():
        page.write_text(f'# Results\n\n{BEGIN.format("report")}\n{END}\n')
    insert(write_report(entries, page.parent), page, 'report')
    print(page)
    front = args.front
    if front is None and args.results.resolve() == RESULTS:
        front = ROOT / 'README.md'
    if front is not None:
        parts = {'headline': tabulate_headline(entries), **tabulate_paper(args.results)}
        for name, lines in parts.items():
            insert(lines, front, name)
        print(front)


if __name__ == '__main__':
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f'study_report: {error}')
