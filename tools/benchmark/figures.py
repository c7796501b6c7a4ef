"""Draw cost against size, with the least possible time as a dashed line."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Record = dict[str, Any]
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
    size = (3.4 * len(fields), 3.0 * rows + 0.6)
    figure, axes = plt.subplots(rows, len(fields), figsize=size, squeeze=False)
    for column, field in zip(axes.T, fields, strict=True):
        series = [r for r in swept if r['case']['sweep'] == field]
        _draw_series(column[0], series, field, 'total', 1e3)
        _draw_least(column[0], series, field)
        if rows == 2:
            _draw_series(column[1], series, field, 'memory', 1e-6)
        column[-1].set_xlabel(LABELS[field])
    axes[0, 0].set_ylabel('ms, forward + backward')
    axes[-1, 0].set_ylabel('extra peak MB' if rows == 2 else 'ms, forward + backward')
    handles = {h.get_label(): h for axis in axes[0] for h in axis.get_lines()}
    figure.legend(handles.values(), handles, loc='upper center', ncols=len(handles), frameon=False)
    figure.text(0.99, 0.005, caption, ha='right', fontsize=6)
    figure.tight_layout(rect=(0, 0.02, 1, 1 - 0.3 / size[1]))
    _save(figure, file)


def _draw_series(axis: Axes, series: list[Record], field: str, value: str, scale: float) -> None:
    methods = list(dict.fromkeys(r['method'] for r in series))
    for number, method in enumerate(methods):
        rows = [r for r in series if r['method'] == method and value in r]
        xs, ys = [r['case'][field] for r in rows], [scale * r[value] for r in rows]
        axis.plot(xs, ys, marker='o', markersize=3, color=f'C{number}', label=method)
    _style(axis)
    axis.set_yscale('log')


def _draw_least(axis: Axes, series: list[Record], field: str) -> None:
    least = {r['case'][field]: 1e3 * r['least'] for r in series if 'least' in r}
    if least:
        axis.plot([*least], [*least.values()], 'k--', linewidth=1, label='3 passes over the logits')


def draw_cases(records: list[Record], file: Path, caption: str) -> None:
    """Draw the milliseconds of every method as bars, one panel per case."""
    found = [r for r in records if not r['case']['sweep'] and 'total' in r]
    titles = list(dict.fromkeys(r['title'] for r in found))
    if not titles:
        return
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 2.1 * rows), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes.flat, titles, strict=False):
        bars = [r for r in found if r['title'] == title]
        drawn = axis.barh([r['method'] for r in bars], [1e3 * r['total'] for r in bars], height=0.7)
        axis.bar_label(drawn, [_describe(r) for r in bars], fontsize=7, padding=2)
        if 'least' in bars[0]:
            axis.axvline(1e3 * bars[0]['least'], color='k', linestyle='--', linewidth=1)
        axis.set_title(title, fontsize=8)
        axis.invert_yaxis()
        axis.set_xscale('log')
        axis.margins(x=0.4)
        _style(axis)
        axis.tick_params(labelsize=7)
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
