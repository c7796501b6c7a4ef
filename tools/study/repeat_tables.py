"""Tables of runs that were run again with the same seed."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from tools.study.plan import Plan
from tools.study.results import Entry
from tools.study.selection import (
    BASELINE,
    MEASURES,
    Measure,
    Reported,
    difference,
    difference_label,
    find_repeats,
    title,
)
from tools.study.tables import estimate, make_table
from tools.study.tuning_tables import write_value


def tabulate_repeats(entries: Sequence[Entry], plan: Plan) -> list[str]:
    """Tabulate runs with the same seed and settings as another beside it, and their gains."""
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
            cells = [_first_and_again(values) for values in scores[method]]
            rows.append([pair[0]['cell'], *cells, threads])
        for method in scores if BASELINE in scores else ():
            if method != BASELINE:
                both = zip(scores[method], scores[BASELINE], strict=True)
                cells = [_first_and_again([*map(difference, *values)], '+') for values in both]
                rows.append([difference_label(plan, method), *cells, '-'])
    return make_table(['first and repeated run', *MEASURES, 'threads'], rows) if rows else []


def tabulate_with_repeats(entries: Sequence[Entry], plan: Plan) -> list[str]:
    """Tabulate gains over cross entropy, of each seed the mean over all its rounds.

    Rounds of a seed are no independent pairs: they have one initialisation and order of images.
    """
    entries = [e for e in entries if not e['repeat']] + [e for _, e in find_repeats(entries)]
    rounds = sorted({entry['repeat'] for entry in entries})
    rows = []
    for data in plan.data:
        parts = [
            Reported([{**e, 'repeat': 0} for e in entries if e['repeat'] == part], data, plan)
            for part in rounds
        ]
        for method in dict.fromkeys(method for part in parts[1:] for method in part.methods()):
            pairs = [len(part.gains(method, MEASURES['mIoU'])) for part in parts]
            if method != BASELINE and any(pairs[1:]):
                gains = [_mean_gains(parts, method, measure) for measure in MEASURES.values()]
                cells = [estimate(found, '+') for found in gains]
                name = f'{title(plan, data)}: {difference_label(plan, method)}'
                rows.append([name, str(len(gains[0])), str(sum(pairs)), *cells])
    return make_table(['', 'seeds', 'pairs', *MEASURES], rows) if rows else []


def _mean_gains(rounds: Sequence[Reported], method: str, measure: Measure) -> dict[int, float]:
    """Average the gains of each seed."""
    gains = defaultdict(list)
    for part in rounds:
        for seed, gain in part.gains(method, measure).items():
            gains[seed].append(gain)
    return {seed: fmean(found) for seed, found in gains.items()}


def _first_and_again(values: Sequence[float | None], sign: str = '') -> str:
    return ', '.join(write_value(value, sign) for value in values)
