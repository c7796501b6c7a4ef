"""Tables of the runs that tune."""

import math
from collections.abc import Mapping, Sequence

from tools.study.plan import Plan
from tools.study.results import Entry, best_factor
from tools.study.selection import (
    MEASURES,
    Scores,
    difference,
    find_repeats,
    label,
    nearest,
    shown_measures,
    tuning_runs,
)
from tools.study.tables import make_table

RELEASED = 'rmi'


def tabulate_choices(entries: Sequence[Entry], data: str, plan: Plan) -> list[str]:
    """Tabulate RMI as released and with one thing changed, at the rates that both were run at.

    A variant is compared with the run of RMI that is nearest in time, for machines differ.
    """
    runs = tuning_runs(entries, data)
    all_runs = [e for found in runs.values() for cells in found.values() for e in cells]
    shown = shown_measures([entry['metrics'] for entry in all_runs])
    variants = [name for name, method in plan.methods.items() if method.variant_of == RELEASED]
    rows = []
    for factor, first in sorted(runs.get(RELEASED, {}).items()):
        again = [again for run, again in find_repeats(entries) if run in first]
        released = [*first, *again]
        tried = [entry for name in variants for entry in runs.get(name, {}).get(factor, [])]
        for entry in [*released, *tried] if tried else []:
            values = [measure(entry) for measure in shown.values()]
            levels = ['diverged' if value is None else f'{value:.2f}' for value in values]
            base = nearest(released, entry)
            ours, theirs = MEASURES['mIoU'](entry), MEASURES['mIoU'](base)
            gain = None if entry is base else difference(ours, theirs)
            name = 'RMI as released' if entry is base else label(plan, entry['method'])
            day = entry['finished'][:10]
            rows.append([name, f'x {factor:g}', *levels, write_value(gain, '+'), day])
    head = ['', 'learning rate', *shown, "mIoU - RMI's", 'run on']
    return make_table(head, rows) if rows else []


def tabulate_tuning(scores: Scores, plan: Plan, data: str) -> list[str]:
    """Tabulate mIoU of each method at each factor of the learning rate, the chosen one in bold."""
    factors = sorted({factor for found in scores.values() for factor in found})
    rows = []
    for method, found in scores.items():
        chosen = _chosen_factor(found, plan.factors(data))
        cells = (_tuning_cell(found, factor, chosen) for factor in factors)
        rows.append([label(plan, method), *cells])
    return make_table(['learning rate', *(f'x {factor:g}' for factor in factors)], rows)


def _chosen_factor(found: Mapping[float, float | None], factors: Sequence[float]) -> float | None:
    """Choose among the factors of the plan; None if not all have been tried, or but one."""
    if len(factors) < 2 or not set(factors) <= set(found):
        return None
    scores = {factor: found[factor] for factor in factors}
    return best_factor({f: -math.inf if s is None else s for f, s in scores.items()})


def _tuning_cell(found: Mapping[float, float | None], factor: float, chosen: float | None) -> str:
    if factor not in found:
        return '-'
    score = found[factor]
    if score is None:
        return 'diverged'
    return f'**{score:.2f}**' if factor == chosen else f'{score:.2f}'


def write_value(value: float | None, sign: str = '') -> str:
    """Write a number, or a dash where there is none."""
    return '-' if value is None else f'{value:{sign}.2f}'
