"""Tables of the reported runs of a data set."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tools.analysis.estimates import LEAST, Estimate
from tools.study.plan import Cell, Plan
from tools.study.selection import BASELINE, MEASURES, OVERVIEW, Reported, metric

EACH_SEED = 'mIoU of each seed'
TEXT = ('data', 'loss', EACH_SEED)  # columns of words, or of lists that begin at the first seed


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write lines of Markdown; all columns but the first and those of `TEXT` are right-aligned."""
    rules = ['---', *('---' if name in TEXT else '---:' for name in head[1:])]
    lines = [head, rules, *rows]
    return ['| ' + ' | '.join(line) + ' |' for line in lines]


def estimate(values: Mapping[int, float], specification: str = '') -> str:
    """Write a cell of a table: the mean with its interval, bold if that is a gain clear of 0."""
    if not values:
        return '-'
    found = Estimate.of(list(values.values()))
    text = f'{found:{specification}}'
    return f'**{text}**' if '+' in specification and found.is_clear else text


def tabulate_scores(reported: Reported, methods: Iterable[str]) -> list[str]:
    """Tabulate mean and interval of every measure, and the mIoU of every seed."""
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
    return make_table(['', 'learning rate', *shown, EACH_SEED], rows)


def tabulate_gains(reported: Reported, methods: Iterable[str], over: str) -> list[str]:
    """Subtract a method from others, paired by seed."""
    return _tabulate_pairs(reported, [(method, over) for method in methods if method != over])


def tabulate_folds(reported: Reported, methods: Iterable[str]) -> list[str]:
    """Average the gains in mIoU on cross entropy over the seeds that hold out the same fold.

    Where they differ more between folds than between seeds, other images would change the result.
    """
    plan, data = reported.plan, reported.data
    if 'folds' not in plan.data[data]:
        return []
    found: dict[str, dict[int, list[float]]] = {}
    for method in methods:
        gains = {} if method == BASELINE else reported.gains(method, MEASURES['mIoU'])
        for seed, gain in gains.items():
            fold = plan.fold(Cell(data, method, seed))
            found.setdefault(method, {}).setdefault(fold, []).append(gain)
    folds = sorted({fold for each in found.values() for fold in each})
    rows = [
        [
            reported.difference(method),
            *(f'{np.mean(each[f]):+.2f} ({len(each[f])})' if f in each else '-' for f in folds),
        ]
        for method, each in found.items()
    ]
    head = ['mIoU, mean of the seeds of a fold', *(f'fold {fold}' for fold in folds)]
    return make_table(head, rows) if rows else []


def tabulate_lead(reported: Reported, method: str, others: Iterable[str]) -> list[str]:
    """Subtract others from a method, paired by seed."""
    return _tabulate_pairs(reported, [(method, other) for other in others if other != method])


def _tabulate_pairs(reported: Reported, pairs: Iterable[tuple[str, str]]) -> list[str]:
    shown = reported.measures()
    rows = []
    for method, over in pairs:
        each = reported.gains(method, metric('mIoU'), over)
        if each:
            cells = [estimate(reported.gains(method, m, over), '+') for m in shown.values()]
            seeds = ', '.join(f'{gain:+.2f}' for gain in each.values())
            rows.append([reported.difference(method, over), str(len(each)), *cells, seeds])
    head = ['difference', 'seeds', *shown, EACH_SEED]
    return make_table(head, rows) if rows else ['No pair of runs yet.']


def tabulate_classes(reported: Reported) -> list[str]:
    """Tabulate the mean IoU of each class, and the gains of the headline's methods."""
    methods, gainers = reported.methods(), reported.gainers()
    rows = []
    for name in reported.classes():
        measure = metric(f'IoU.{name}')
        means = [reported.values(method, measure).values() for method in methods]
        cells = [f'{np.mean(list(values)):.2f}' if values else '-' for values in means]
        gains = [estimate(reported.gains(method, measure), '+') for method in gainers]
        rows.append([name, *cells, *gains])
    titles = [reported.difference(method) for method in gainers]
    return make_table(['IoU', *map(reported.label, methods), *titles], rows)


def tabulate_memory(reported: Reported) -> list[str]:
    """Tabulate peak memory of training; seconds would be those of whatever machine it was."""
    rows = []
    for method in [*reported.methods(), *reported.variants()]:
        if any(entry.get('run_of') for entry in reported.runs[method].values()):
            continue  # trained by another method
        memory = reported.values(method, lambda entry: entry.get('peak_memory_mb'))
        if memory:
            rows.append([reported.label(method), f'{np.median(list(memory.values())):.0f}'])
    return make_table(['', 'peak MB of the process in training'], rows)


def tabulate_headline(reports: Mapping[str, Reported], plan: Plan) -> list[str]:
    """Tabulate the gains in mIoU, and in brackets their seeds, of what the plan puts in front."""
    rows = []
    for data, methods in plan.front.items():
        gains = [reports[data].gains(method, MEASURES['mIoU']) for method in methods]
        if any(len(found) >= LEAST for found in gains):
            rows.append([reports[data].title, *map(_gain_and_seeds, gains)])
    return make_table(['', *plan.front_columns], rows) if rows else ['No pair of runs yet.']


def _gain_and_seeds(gains: Mapping[int, float]) -> str:
    return f'{estimate(gains, "+")} ({len(gains)})' if len(gains) >= LEAST else '-'


def tabulate_overview(reports: Mapping[str, Reported]) -> list[str]:
    """Tabulate the gains on cross entropy that have an interval, of what the plan puts there."""
    rows = []
    for reported in reports.values():
        shown = reported.plan.overview or reported.plan.methods
        for method in (method for method in gaining(reported) if method in shown):
            gains = [reported.gains(method, m) for m in OVERVIEW.values()]
            cells = [estimate(found, '+') for found in gains]
            rates = {entry['lr_factor'] for entry in reported.runs[method].values()}
            rate = ', '.join(f'x {factor:g}' for factor in sorted(rates))
            rows.append([reported.title, reported.label(method), rate, str(len(gains[0])), *cells])
    head = ['data', 'loss', 'learning rate', 'seeds', *OVERVIEW]
    return make_table(head, rows) if rows else ['No pair of runs yet.']


def gaining(reported: Reported) -> list[str]:
    """List the methods of which enough seeds have run beside the baseline for an interval."""
    methods = [*reported.methods(), *reported.variants()]
    gains = {m: reported.gains(m, MEASURES['mIoU']) for m in methods if m != BASELINE}
    return [method for method, found in gains.items() if len(found) >= LEAST]
