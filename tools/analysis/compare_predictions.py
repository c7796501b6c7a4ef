"""Show predictions of models side by side, where they differ most and where they do not.

``python tools/analysis/compare_predictions.py CONFIG CE=FOLDER RMI=FOLDER``, with the folders that
``tools/test.py --out`` wrote for the test set of CONFIG. The images are chosen by what the last
model gains over the first in their mIoU: largest gains, medians and largest losses alike.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from mmseg_rmi import launch
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# After mmseg_rmi, which keeps these from printing what they lack.
from mmseg.datasets import BaseSegDataset

from tools.analysis.comparison_figure import draw_figure
from tools.analysis.comparison_page import write_page
from tools.analysis.comparison_panels import VOID_COLOUR, classes_in, make_page
from tools.analysis.figure_theme import THEMES, apply_theme
from tools.analysis.prediction_views import (
    VOID,
    choose,
    confusion,
    image_score,
    mean_iou,
    open_dataset,
    parse_models,
    read_view,
)


@dataclass(frozen=True)
class Scores:
    """Scores in percent, models in the order of ``names``."""

    names: list[str]
    by_image: np.ndarray  # images x models, NaN where nothing is labelled
    overall: list[float]

    @property
    def values(self) -> np.ndarray:
        """By what images are chosen: gains of the last model over the first, or scores of one."""
        if len(self.names) == 1:
            return self.by_image[:, 0]
        return self.by_image[:, -1] - self.by_image[:, 0]

    @property
    def summary(self) -> str:
        """Say how often which model is better, which the choice of images must not hide."""
        values = self.values[~np.isnan(self.values)]
        if len(self.names) == 1:
            return f'{self.names[0]}: median mIoU {np.median(values):.1f} of {len(values)} images'
        first, last = self.names[0], self.names[-1]
        return (
            f'{last} has the better mIoU on {(values > 0).sum()}, {first} on {(values < 0).sum()} '
            f'of {len(values)} images; median gain {np.median(values):+.1f}'
        )


def score_images(dataset: BaseSegDataset, models: Mapping[str, Path]) -> Scores:
    """Score every image of every model."""
    classes = len(dataset.metainfo['classes'])
    totals = np.zeros((len(models), classes, classes), np.int64)
    by_image = np.full((len(dataset), len(models)), np.nan)
    for index in track(range(len(dataset)), 'scoring', console=Console(stderr=True)):
        view = read_view(dataset, index, models)
        for place, prediction in enumerate(view.predictions.values()):
            counts = confusion(view.truth, prediction, classes)
            totals[place] += counts
            by_image[index, place] = image_score(counts)
    return Scores(list(models), by_image, [mean_iou(counts) for counts in totals])


def compare(
    dataset: BaseSegDataset, models: Mapping[str, Path], each: int, out: Path, themes: Sequence[str]
) -> list[Path]:
    """Choose images, draw the first of each kind and write a page of all; returns the files."""
    scores = score_images(dataset, models)
    if np.isnan(scores.values).all():
        raise ValueError('no image of the test set has a labelled pixel')
    choices = choose(scores.values, each, are_gains=len(models) > 1)
    views = [read_view(dataset, choice.index, models) for choice in choices]
    scored = int((~np.isnan(scores.values)).sum())
    pages = [
        make_page(
            view,
            choice,
            scored,
            dict(zip(models, scores.by_image[choice.index].tolist(), strict=True)),
            dataset.metainfo['palette'],
        )
        for view, choice in zip(views, choices, strict=True)
    ]

    names, palette = dataset.metainfo['classes'], dataset.metainfo['palette']
    known = [label for label in classes_in(views) if label != VOID]
    legend = {names[label]: palette[label] for label in known} | {'ignored': VOID_COLOUR}
    files = [out / 'comparison.html', *(out / f'comparison-{theme}.png' for theme in themes)]
    overall = dict(zip(models, scores.overall, strict=True))
    write_page(pages, legend, overall, scores.summary, files[0])
    means = ', '.join(f'{name} {value:.2f}' for name, value in overall.items())
    firsts = list({page.choice.kind: page for page in reversed(pages)}.values())[::-1]
    for theme, file in zip(themes, files[1:], strict=True):
        apply_theme(theme)
        draw_figure(firsts, legend, f'mIoU {means}. {scores.summary}', file)
    return files


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Show predictions of models side by side')
    parser.add_argument('config', help='config whose test set was predicted')
    parser.add_argument('models', nargs='+', metavar='NAME=FOLDER', help='predicted label maps')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/comparison'))
    parser.add_argument('--each', type=int, default=4, help='images of a kind on the page')
    parser.add_argument(
        '--themes', nargs='+', choices=list(THEMES), default=['light'], help='of the picture'
    )
    launch.add_config_options(parser)
    add_debug_argument(parser)
    args = parser.parse_args(arguments)
    if args.each < 1:
        parser.error(f'--each must be at least 1, got {args.each}')
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    args = parse_args(arguments)
    models = parse_models(args.models)
    dataset = open_dataset(args.config, args.cfg_options)
    for file in compare(dataset, models, args.each, args.out, args.themes):
        print(file)


if __name__ == '__main__':
    run_tool(main)
