"""Figures of a data set's runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tools.analysis.estimates import Estimate
from tools.analysis.figure_theme import COLOURS, save
from tools.study.plan import Plan
from tools.study.selection import BASELINE, TRIMAP, Reported, Scores, label, metric
from tools.study.tables import gaining

LABEL_WIDTH = 30  # characters of a line of a method's name
FOREST_EDGE = -12.0  # points, the furthest that the forest plot is drawn to scale


def draw_seeds(reported: Reported, file: Path) -> None:
    """Draw the mIoU of every run, runs of a seed joined, with the mean of each method."""
    methods = [m for m in reported.methods() if reported.values(m, metric('mIoU'))]
    figure, axes = plt.subplots(figsize=(1.6 + 0.9 * len(methods), 4.5), layout='constrained')
    values = [reported.values(method, metric('mIoU')) for method in methods]
    for seed in sorted({seed for found in values for seed in found}):
        places = [place for place, found in enumerate(values) if seed in found]
        heights = [values[place][seed] for place in places]
        axes.plot(places, heights, 'o-', color='#999999', markersize=4, linewidth=0.8, zorder=1)
    for place, found in enumerate(values):
        ends = [place - 0.2, place + 0.2]
        axes.plot(ends, [np.mean(list(found.values()))] * 2, '-', color=COLOURS[1], linewidth=2.5)
    names = [fill(reported.label(method), LABEL_WIDTH) for method in methods]
    axes.set_xticks(range(len(methods)), names, rotation=30, ha='right')
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_ylabel('mIoU in %')
    axes.set_title(f'{reported.title}:\nevery run (a line is a seed) and means')
    save(figure, file)


def draw_tuning(scores: Scores, seeds: str, plan: Plan, file: Path) -> None:
    """Draw mIoU over the factor of the learning rate, a curve for each method of several.

    Args:
        scores: of the methods.
        seeds: what the scores are of, in words.
        plan: names methods.
        file: to write to.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout='constrained')
    curves = {method: found for method, found in scores.items() if len(found) > 1}
    for method, found in curves.items():
        scores_at = (found[factor] for factor in sorted(found))
        heights = [np.nan if score is None else score for score in scores_at]
        axes.plot(sorted(found), heights, marker='o', markersize=4, label=label(plan, method))
    factors = sorted({factor for found in curves.values() for factor in found})
    axes.set_xscale('log')
    axes.set_xticks(factors, [f'{factor:g}' for factor in factors], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel('factor of the learning rate')
    axes.set_ylabel('mIoU in %')
    axes.set_title(f'half the schedule, {seeds}')
    axes.legend()
    save(figure, file)


def draw_trimaps(reported: Reported, file: Path) -> None:
    """Draw mIoU within a distance of true boundaries, and its gain on the baseline."""
    height = 3.6 + 0.1 * len(reported.methods())  # the names are below, in two columns
    figure, (level, gain) = plt.subplots(ncols=2, figsize=(9, height), layout='constrained')
    for method in reported.methods():
        entries = reported.runs[method].values()
        keys = [key for entry in entries for key in entry['metrics'] if key.startswith(TRIMAP)]
        widths = sorted({int(key.removeprefix(TRIMAP)) for key in keys})
        bands = [metric(f'{TRIMAP}{width}') for width in widths]
        for axes, read in ((level, reported.values), (gain, reported.gains)):
            values = [list(read(method, measure).values()) for measure in bands]
            means = [np.mean(found) if found else np.nan for found in values]
            axes.plot(widths, means, marker='o', markersize=3, label=reported.label(method))
    for axes in (level, gain):
        axes.set_xlabel('within so many pixels of a true boundary')
    level.set_ylabel('mIoU in %')
    gain.set_ylabel(f"mIoU - {reported.label(BASELINE)}'s, paired by seed")
    handles, names = level.get_legend_handles_labels()
    figure.legend(handles, names, loc='outside lower center', ncols=2, fontsize='small')
    figure.suptitle(reported.title)
    save(figure, file)


def draw_classes(reported: Reported, file: Path) -> None:
    """Draw the gain of the headline's methods on each class: mean, interval and seeds."""
    names, methods = reported.classes(), reported.gainers()
    height = 1.4 + 0.2 * len(methods) + (0.12 + 0.12 * len(methods)) * len(names)
    figure, axes = plt.subplots(figsize=(5.6, height), layout='constrained')
    shifts = (np.arange(len(methods)) - (len(methods) - 1) / 2) * 0.8 / len(methods)
    # Squares, where there are more methods than colours.
    looks = [(colour, marker) for marker in 'os' for colour in COLOURS]
    for method, shift, (colour, marker) in zip(methods, shifts, looks, strict=False):
        places = np.arange(len(names)) + shift
        gains = [list(reported.gains(method, metric(f'IoU.{name}')).values()) for name in names]
        found = [Estimate.of(values) if values else None for values in gains]
        means = [each.mean if each else np.nan for each in found]
        errors = [each.half_width if each else np.nan for each in found]
        style: dict[str, Any] = dict(fmt=marker, color=colour, markersize=4)
        name = fill(reported.label(method), LABEL_WIDTH)
        axes.errorbar(means, places, xerr=errors, label=name, capsize=2, linewidth=1.2, **style)
        for place, values in zip(places, gains, strict=True):
            axes.plot(values, [place] * len(values), '|', color=colour, markersize=7, alpha=0.5)
    axes.axvline(0, color='#7f7f7f', linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f"IoU - {reported.label(BASELINE)}'s, in points")
    axes.set_title(
        f'{reported.title}:\nmean, its 95 % interval from three seeds on,\nand every seed'
    )
    figure.legend(loc='outside lower center', ncols=2, fontsize='small')
    save(figure, file)


def draw_forest(reports: Mapping[str, Reported], file: Path) -> None:
    """Draw the gain in mIoU on cross entropy of every method on every data set."""
    shown = {reported: gaining(reported) for reported in reports.values() if gaining(reported)}
    lines = len(shown) + sum(map(len, shown.values()))
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.24 * lines), layout='constrained')
    names: list[str] = []
    all_gains: dict[int, list[float]] = {}
    for reported, methods in shown.items():
        names.append(reported.title)
        for method in methods:
            gains = list(reported.gains(method, metric('mIoU')).values())
            _draw_interval(axes, len(names), gains, method in reported.plan.rmi)
            all_gains[len(names)] = gains
            names.append(f'{reported.label(method)} ({len(gains)} seeds)')
    axes.axvline(0, color='#7f7f7f', linewidth=0.8)
    _name_failures(axes, all_gains)
    axes.set_yticks(range(len(names)), names)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_fontweight('normal' if name.endswith('seeds)') else 'bold')
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis='y')
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('gain in mIoU over cross entropy, in points')
    save(figure, file)


def _draw_interval(axes: Axes, place: int, gains: Sequence[float], with_rmi: bool) -> None:
    """Draw mean, interval and every seed on a line."""
    found, colour = Estimate.of(gains), COLOURS[1] if with_rmi else COLOURS[6]
    axes.errorbar([found.mean], [place], xerr=[found.half_width], fmt='o', color=colour, capsize=3)
    axes.plot(gains, [place] * len(gains), '|', color=colour, markersize=7, alpha=0.5)


def _name_failures(axes: Axes, gains: Mapping[int, Sequence[float]]) -> None:
    """Write at the edge which seeds lie further down: to scale, they would hide the rest.

    Args:
        axes: with a line for each place.
        gains: of every seed, by place.
    """
    found = [Estimate.of(each) for each in gains.values()]
    lowest = min([estimate.mean - estimate.half_width for estimate in found], default=0.0)
    left = max(lowest - 1, FOREST_EDGE)
    for place, each in gains.items():
        if failed := [f'{gain:.0f}' for gain in each if gain < left]:
            text = f'\N{LEFTWARDS ARROW} {", ".join(failed)}'
            axes.annotate(text, (left, place + 0.1), va='top', fontsize='small')
    axes.set_xlim(left=left)
