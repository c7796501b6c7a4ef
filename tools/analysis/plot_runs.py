"""Draw what runs logged: ``python tools/analysis/plot_runs.py CE=FOLDER RMI=FOLDER``.

Loss terms, region score, validated mIoU and learning rate against the iteration, a panel each, a
line per run, from the scalars that MMEngine leaves in a work dir (resumed runs included); and mIoU
near boundaries, from test results in or below it that hold a `TrimapIoUMetric`.
"""

import argparse
import contextlib
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.analysis.figure_theme import THEMES, apply_theme, save
from tools.analysis.named_folders import parse_named_folders
from tools.analysis.results import read_metrics

Series = tuple[list[float], list[float]]

VALIDATED = {
    'mIoU': 'validated mIoU, %',
    'boundary/mIoU': 'validated boundary IoU, %',
    'rmi/score': 'validated region score, %',
}
TRIMAP = re.compile(r'trimap/mIoU\.(\d+)')
TRIMAP_PANEL = 'trimap'
ACROSS = 3


@dataclass
class Run:
    """The log of a run: values against iterations by key, and against widths for trimaps."""

    name: str
    scalars: dict[str, Series] = field(default_factory=dict)

    @property
    def loss_terms(self) -> list[str]:
        """Keys of the terms of its loss, and of their sum where there are several."""
        terms = [key for key in self.scalars if 'loss' in key.split('.')[-1] and key != 'loss']
        return terms if len(terms) == 1 or 'loss' not in self.scalars else [*terms, 'loss']


def parse_runs(arguments: Sequence[str]) -> list[Run]:
    """Read ``NAME=FOLDER`` arguments, and what is in these work dirs.

    Raises:
        ValueError: one is not of that form, a name comes twice, or a folder holds no log.
    """
    return [read_run(name, folder) for name, folder in parse_named_folders(arguments).items()]


def read_run(name: str, folder: Path) -> Run:
    """Read a work dir."""
    run = Run(name, read_scalars(sorted(folder.glob('*/vis_data/scalars.json'))))
    results = (file for file in folder.glob('**/*.json') if file.stem == file.parent.name)
    for file in sorted(results, key=lambda file: file.stem, reverse=True):  # newest first
        widths = {
            int(found[1]): value
            for key, value in read_metrics(file).items()
            if (found := TRIMAP.fullmatch(key))
        }
        if widths:
            run.scalars[TRIMAP_PANEL] = sorted(widths), [widths[width] for width in sorted(widths)]
            break
    if not run.scalars:
        raise ValueError(
            f'{folder} holds neither TIMESTAMP/vis_data/scalars.json, which a training leaves in '
            'its work dir, nor a test result with a TrimapIoUMetric'
        )
    return run


def read_log(file: Path) -> list[dict]:
    """Read what MMEngine logged, less a line that was cut off with the run.

    Validations in a loop over epochs have the number of the epoch as their step; it becomes that of
    the iteration before.
    """
    records, last = [], {}
    for line in file.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if 'step' not in record:
                continue
            if 'iter' in record:
                last = record
            elif 'epoch' in last:
                record['step'] = last['step']
            records.append(record)
    return records


def order_logs(logs: Sequence[list[dict]]) -> list[list[dict]]:
    """Order the logs of a run, each from its first step, by the steps that they continue.

    Folders are named after the time, which is not to be trusted if a clock was set back. The last
    log that starts at the beginning comes first, then those that went on from it.

    >>> def log(*steps):
    ...     return [{'step': step} for step in steps]
    >>> order_logs([log(80), log(60, 80), log(20, 40, 60)])
    [[{'step': 20}, {'step': 40}, {'step': 60}], [{'step': 60}, {'step': 80}], [{'step': 80}]]
    """
    logs = [log for log in logs if log]
    least = min((log[0]['step'] for log in logs), default=0)
    starts = [number for number, log in enumerate(logs) if log[0]['step'] == least]
    if len(starts) > 1:
        logs = logs[starts[-1] :]
    return sorted(logs, key=lambda log: log[0]['step'])


def read_scalars(files: Iterable[Path]) -> dict[str, Series]:
    """Read the logs of a run; a resumed run replaces what it did over again."""
    records: list[dict] = []
    for log in order_logs([read_log(file) for file in files]):
        records = [record for record in records if record['step'] < log[0]['step']] + log
    series: dict[str, Series] = {}
    for record in records:
        for key, value in record.items():
            if isinstance(value, int | float) and key != 'step':
                steps, values = series.setdefault(key, ([], []))
                steps.append(record['step'])
                values.append(value)
    return series


def smooth(values: Sequence[float], amount: float) -> list[float]:
    """Exponential moving average, unbiased at the start; what is not finite is left out of it.

    >>> smooth([1, 3, float('nan'), 3], 0.5)
    [1.0, 2.3333333333333335, nan, 2.7142857142857144]
    """
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        if not math.isfinite(value):
            smoothed.append(math.nan)
            continue
        mean = amount * mean + (1 - amount) * value
        weight = amount * weight + (1 - amount)
        smoothed.append(mean / weight)
    return smoothed


def list_panels(runs: Sequence[Run]) -> dict[str, str]:
    """Titles of the panels by the keys of their values, in the order in which they are drawn."""
    keys = list(dict.fromkeys(key for run in runs for key in run.scalars))
    terms = dict.fromkeys(term for run in runs for term in run.loss_terms)
    losses = sorted(terms, key=lambda term: (term == 'loss', keys.index(term)))
    scores = [key for key in keys if key.endswith('rmi_score')]
    panels = {term: 'all loss terms' if term == 'loss' else term for term in losses}
    panels |= {key: f'{key} in training' for key in scores}
    panels |= {key: title for key, title in VALIDATED.items() if key in keys}
    if 'lr' in keys:
        panels['lr'] = 'learning rate'
    if TRIMAP_PANEL in keys:
        panels[TRIMAP_PANEL] = 'tested mIoU near boundaries, %'
    return panels


def draw_runs(
    runs: Sequence[Run], panels: Mapping[str, str], smoothing: float, file: Path, dpi: int = 120
) -> None:
    """Draw a panel for each of ``panels``."""
    across = min(ACROSS, len(panels))
    rows = -(-len(panels) // across)
    figure, grid = plt.subplots(
        rows, across, figsize=(4.4 * across, 3 * rows + 0.5), squeeze=False, layout='constrained'
    )
    for axes, (key, title) in zip(grid.flat, panels.items(), strict=False):
        _draw_panel(axes, key, title, runs, smoothing)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = [plt.Line2D([], [], label=run.name, **style) for run, style in _styled(runs)]
    figure.legend(handles=handles, loc='outside upper center', ncols=min(len(runs), 6))
    save(figure, file, dpi)


def _styled(runs: Sequence[Run]) -> Iterable[tuple[Run, dict]]:
    """Each run with its line style, the same in all panels."""
    return zip(runs, plt.rcParams['axes.prop_cycle'](), strict=False)


def _draw_panel(axes: Axes, key: str, title: str, runs: Sequence[Run], smoothing: float) -> None:
    noisy = 'loss' in key or key.endswith('rmi_score')
    marker = '.' if key in VALIDATED or key == TRIMAP_PANEL else None
    for place, (run, style) in enumerate(_styled(runs)):
        if key not in run.scalars:
            continue
        positions, values = run.scalars[key]
        width = 1.6
        if noisy and smoothing:
            axes.plot(positions, values, **style, alpha=0.35, linewidth=0.8)
            values = smooth(values, smoothing)
        elif key == 'lr':  # mostly the same in all runs: the earlier ones show behind
            width += 2 * min(len(runs) - 1 - place, 3)
        axes.plot(positions, values, **style, linewidth=width, marker=marker)
    axes.set_title(title, fontsize=10)
    axes.set_xlim(left=0)
    axes.set_xlabel('within so many pixels' if key == TRIMAP_PANEL else 'iteration', fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(labelsize=8)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Draw what runs logged')
    parser.add_argument('runs', nargs='+', metavar='NAME=FOLDER', help='work dirs')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/runs.png'), help='a .png, .svg or .pdf'
    )
    parser.add_argument(
        '--smoothing',
        type=float,
        default=0.6,
        help='of losses and scores in training, from 0 (none) to below 1; what was logged stays '
        'visible behind',
    )
    parser.add_argument('--theme', choices=list(THEMES), default='light')
    add_debug_argument(parser)
    args = parser.parse_args(arguments)
    if not 0 <= args.smoothing < 1:
        parser.error(f'--smoothing must be at least 0 and below 1, got {args.smoothing}')
    if args.out.suffix not in ('.png', '.svg', '.pdf'):
        parser.error(f'--out must end in .png, .svg or .pdf, got {args.out}')
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw as the command line says."""
    args = parse_args(arguments)
    runs = parse_runs(args.runs)
    panels = list_panels(runs)
    if not panels:
        raise ValueError(f'none of {", ".join(run.name for run in runs)} logged anything to draw')
    apply_theme(args.theme)
    draw_runs(runs, panels, args.smoothing, args.out)
    print(args.out)


if __name__ == '__main__':
    run_tool(main)
