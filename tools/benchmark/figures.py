"""Draw cost against size, with the least possible time as a dashed line."""

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tools.benchmark.cases import Case
from tools.benchmark.methods import RMI, STREAMED

Record = dict[str, Any]
DASHED = '3 passes over the logits, and their size'
LABELS = dict(
    batch='images',
    side='pixels per side',
    classes='classes, all present',
    present='classes present in an image',
    downsample_factor='downsample factor',
    region_size='region size',
)


def draw_sweeps(records: list[Record], file: Path, caption: str) -> None:
    """Draw milliseconds, and megabytes where they are known, against what varies."""
    swept = [r for r in records if r['case']['sweep'] and 'total' in r]
    fields = list(dict.fromkeys(r['case']['sweep'] for r in swept))
    if not fields:
        return
    rows = 2 if any('memory' in r for r in swept) else 1
    size = (3.2 * max(2, len(fields)), 2.8 * rows + 0.8)
    figure, axes = plt.subplots(rows, len(fields), figsize=size, squeeze=False)
    colours = {method: f'C{number}' for number, method in enumerate(_methods(swept))}
    for column, field in zip(axes.T, fields, strict=True):
        series = [r for r in swept if r['case']['sweep'] == field]
        _draw_series(column[0], series, field, 'total', 1e3, colours)
        _draw_least(column[0], {r['case'][field]: 1e3 * r.get('least', 0) for r in series})
        if rows == 2:
            _draw_series(column[1], series, field, 'memory', 1e-6, colours)
            _draw_least(column[1], {r['case'][field]: _logit_megabytes(r) for r in series})
        column[-1].set_xlabel(LABELS[field])
    axes[0, 0].set_ylabel('ms, forward + backward')
    if rows == 2:
        axes[1, 0].set_ylabel('extra peak MB')
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    figure.legend(lines.values(), lines, loc='upper center', ncols=4, frameon=False, fontsize=8)
    figure.text(0.99, 0.005, caption, ha='right', fontsize=6)
    figure.tight_layout(rect=(0, 0.03, 1, 1 - 0.5 / size[1]))
    _save(figure, file)


def _methods(records: list[Record]) -> list[str]:
    return list(dict.fromkeys(r['method'] for r in records))


def _draw_series(
    axis: Axes,
    series: list[Record],
    field: str,
    value: str,
    scale: float,
    colours: dict[str, str],
) -> None:
    for method in _methods(series):
        rows = [r for r in series if r['method'] == method and value in r]
        xs, ys = [r['case'][field] for r in rows], [scale * r[value] for r in rows]
        axis.plot(xs, ys, marker='o', markersize=3, color=colours[method], label=method)
    _style(axis)
    axis.set_xscale('log')
    values = sorted({r['case'][field] for r in series})
    axis.set_xticks(values, [str(value) for value in values])
    axis.minorticks_off()
    if any(r.get(value) for r in series):  # of tiny shapes, a peak of 0 is found
        axis.set_yscale('log')


def _draw_least(axis: Axes, least: dict[int, float]) -> None:
    if any(least.values()):
        axis.plot([*least], [*least.values()], 'k--', linewidth=1, label=DASHED)


def _logit_megabytes(record: Record) -> float:
    return Case(**record['case']).logit_bytes / 1e6


def draw_cases(records: list[Record], file: Path, caption: str) -> None:
    """Draw the milliseconds of every method in one panel per case."""
    found = [r for r in records if not r['case']['sweep'] and 'total' in r]
    titles = list(dict.fromkeys(r['title'] for r in found))
    if not titles:
        return
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 2.1 * rows), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes.flat, titles, strict=False):
        shown = [r for r in found if r['title'] == title]
        for height, record in enumerate(shown):
            colour = 'C1' if record['method'] in (*RMI, STREAMED) else 'C0'
            milliseconds = 1e3 * record['total']
            axis.plot(milliseconds, height, 'o', color=colour)
            axis.annotate(
                _describe(record),
                (milliseconds, height),
                xytext=(7, 0),
                textcoords='offset points',
                va='center',
                fontsize=7,
            )
        if 'least' in shown[0]:
            axis.axvline(1e3 * shown[0]['least'], color='k', linestyle='--', linewidth=1)
        axis.set_yticks(range(len(shown)), [r['method'] for r in shown])
        axis.set_title(title, fontsize=8)
        axis.set_xscale('log')
        axis.margins(x=0.4, y=0.2)
        axis.invert_yaxis()
        _style(axis)
        axis.tick_params(which='both', labelsize=7)
    figure.supxlabel(
        f'ms, forward + backward; dashed: 3 passes over the logits. {caption}', fontsize=7
    )
    figure.tight_layout()
    _save(figure, file)


def _describe(record: Record) -> str:
    memory = f', {record["memory"] / 1e6:.0f} MB' if 'memory' in record else ''
    return f'{1e3 * record["total"]:.3g} ms{memory}'


def _style(axis: Axes) -> None:
    axis.spines[['top', 'right']].set_visible(False)
    axis.grid(alpha=0.3)


def _save(figure: plt.Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    plt.close(figure)
