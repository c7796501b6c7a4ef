"""Tables of the reported runs of a data set."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from tools.analysis.estimates import Estimate
from tools.study.plan import Plan
from tools.study.results import Entry
from tools.study.selection import BASELINE, MEASURES, Reported, metric

LEAST_SEEDS = 3  # below which an interval says nothing


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write lines of Markdown; all columns but the first are right-aligned."""
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    return ['| ' + ' | '.join(line) + ' |' for line in lines]


def estimate(values: Mapping[int, float], specification: str = '') -> str:
    """Write a cell of a table: the mean with its interval, bold if that is a gain clear of 0."""
    if not values:
        return '-'
    found = Estimate.of(list(values.values()))
    text = f'{found:{specification}}'
    return f'**{text}**' if '+' in specification and found.is_clear else text


def tabulate_scores(reported: Reported, methods: Iterable[str]) -> list[str]:
    """Mean and interval of every measure, and the mIoU of every seed."""
    shown = reported.measures()
    rows = []
    for method in methods:
        runs = [entry for _, entry in sorted(reported.runs[method].items())]
        scores = [entry['metrics'].get('mIoU') for entry in runs]
        each = ', '.join('diverged' if score is None else f'{score:.2f}' for score in scores)
        factors = sorted({entry['lr_factor'] for entry in runs})
        rates = ', '.join(f'x {factor:g}' for factor in factors)
        cells = [estimate(reported.values(method, measure)) for measure in shown.values()]
        rows.append([reported.label(method), rates, *cells, each])
    return make_table(['', 'learning rate', *shown, 'mIoU of each seed'], rows)


def tabulate_gains(reported: Reported, methods: Iterable[str], over: str) -> list[str]:
    """How much methods are above another, paired by seed."""
    pairs = {reported.label(method): (method, over) for method in methods if method != over}
    return _tabulate_pairs(reported, f'above {reported.label(over)}', pairs)


def tabulate_lead(reported: Reported, method: str, others: Iterable[str]) -> list[str]:
    """How much a method is above others, paired by seed."""
    pairs = {reported.label(other): (method, other) for other in others if other != method}
    return _tabulate_pairs(reported, f'{reported.label(method)} above', pairs)


def _tabulate_pairs(
    reported: Reported, title: str, pairs: Mapping[str, tuple[str, str]]
) -> list[str]:
    shown = reported.measures()
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
    for name in reported.classes():
        measure = metric(f'IoU.{name}')
        means = [reported.values(method, measure).values() for method in methods]
        cells = [f'{np.mean(list(values)):.2f}' if values else '-' for values in means]
        gains = [estimate(reported.gains(method, measure), '+') for method in gainers]
        rows.append([name, *cells, *gains])
    titles = [f'{reported.label(m)} above {reported.label(BASELINE)}' for m in gainers]
    return make_table(['IoU', *map(reported.label, methods), *titles], rows)


def tabulate_memory(reported: Reported) -> list[str]:
    """Peak memory of training; seconds would be those of whatever machines the runs came to."""
    rows = []
    for method in [*reported.methods(), *reported.variants()]:
        if any(entry.get('run_of') for entry in reported.runs[method].values()):
            continue  # trained by another method
        memory = reported.values(method, lambda entry: entry.get('peak_memory_mb'))
        if memory:
            rows.append([reported.label(method), f'{np.median(list(memory.values())):.0f}'])
    return make_table(['', 'peak MB of the process in training'], rows)


def tabulate_headline(entries: Sequence[Entry], plan: Plan) -> list[str]:
    """Tabulate what losses gain over cross entropy, where there are seeds enough to tell."""
    shown = dict(islice(MEASURES.items(), 3))
    rows = []
    for data in plan.data:
        reported = Reported(entries, data, plan)
        for method in reported.gainers():
            gains = [reported.gains(method, measure) for measure in shown.values()]
            if len(gains[0]) < LEAST_SEEDS or plan.methods[method].run_of:
                continue
            name = f'{reported.title}: {reported.label(method)} - {reported.label(BASELINE)}'
            level = estimate(reported.values(BASELINE, MEASURES['mIoU']))
            cells = [estimate(gain, '+') for gain in gains]
            rows.append([name, str(len(gains[0])), level, *cells])
    head = ['', 'seeds', 'mIoU of CE', *shown]
    return make_table(head, rows) if rows else ['No pair of runs yet.']
