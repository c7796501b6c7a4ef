"""The end of the demo: scores, their table and a picture, from saved predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from PIL import Image
from rich.table import Table

from mmseg_rmi.datasets.camvid import CLASSES, PALETTE, UNLABELLED, read_pairs

matplotlib.use('Agg')

SCORED = CLASSES[:UNLABELLED]


@dataclass(frozen=True)
class Scores:
    """IoU of each class (NaN for one that nobody has seen), in percent, and what follows."""

    iou: np.ndarray
    pixel_accuracy: float

    @property
    def mean_iou(self) -> float:
        return float(np.nanmean(self.iou))

    def as_dict(self) -> dict:
        classes = {name: round(float(iou), 2) for name, iou in zip(SCORED, self.iou, strict=True)}
        return dict(mIoU=round(self.mean_iou, 2), aAcc=round(self.pixel_accuracy, 2), IoU=classes)


def read_labels(path: Path) -> np.ndarray:
    """Read a label map: H x W, uint8."""
    return np.asarray(Image.open(path))


def list_pairs(data_root: Path, split: str, count: int | None = None) -> list[tuple[Path, Path]]:
    """Paths of the first ``count`` images of a split (None: all) and of their labels."""
    pairs = read_pairs(data_root / f'{split}.txt')[:count]
    return [(data_root / image, data_root / label) for image, label in pairs]


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns), unlabelled ones left out."""
    labelled = truth < UNLABELLED
    cells = truth[labelled].astype(np.int64) * UNLABELLED + prediction[labelled]
    return np.bincount(cells, minlength=UNLABELLED**2).reshape(UNLABELLED, UNLABELLED)


def score(counts: np.ndarray) -> Scores:
    """Scores of a confusion matrix."""
    hits = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hits
    with np.errstate(invalid='ignore'):
        return Scores(100 * hits / union, 100 * hits.sum() / counts.sum())


def score_predictions(pairs: Iterable[tuple[Path, Path]], folder: Path) -> Scores:
    """Score the label maps that ``tools/test.py --out`` saved."""
    counts = [
        confusion(read_labels(label), read_labels(folder / f'{image.stem}.png'))
        for image, label in pairs
    ]
    return score(np.sum(counts, axis=0))


def score_majority(
    train: Iterable[tuple[Path, Path]], val: Iterable[tuple[Path, Path]]
) -> tuple[str, Scores]:
    """Score the answer 'everything is the commonest class of the training set', and name it."""
    seen = [np.bincount(read_labels(label).ravel(), minlength=256) for _, label in train]
    commonest = int(np.sum(seen, axis=0)[:UNLABELLED].argmax())
    truths = (read_labels(label) for _, label in val)
    counts = [confusion(truth, np.full_like(truth, commonest)) for truth in truths]
    return SCORED[commonest], score(np.sum(counts, axis=0))


def make_table(scores: Mapping[str, Scores]) -> Table:
    """One column per model, one row per class; the better of the last two models in bold."""
    table = Table()
    table.add_column('IoU in %')
    for name in scores:
        table.add_column(name, justify='right')
    for index, name in enumerate(SCORED):
        table.add_row(name, *_cells([entry.iou[index] for entry in scores.values()]))
    table.add_section()
    table.add_row('mIoU', *_cells([entry.mean_iou for entry in scores.values()]))
    table.add_row('aAcc', *_cells([entry.pixel_accuracy for entry in scores.values()]))
    return table


def _cells(values: Sequence[float]) -> list[str]:
    best = max(values[-2:])
    return [f'[bold]{v:.2f}[/]' if v == best else f'{v:.2f}' for v in values]


def draw_comparison(
    pairs: Sequence[tuple[Path, Path]], predictions: Mapping[str, Path], out_file: Path
) -> None:
    """Draw images, truths and predictions side by side, a row per image, with a legend.

    Args:
        pairs: The images to show and their labels.
        predictions: Title of a column and the folder of its label maps.
        out_file: Where the picture goes.
    """
    titles = ['image', 'truth', *predictions]
    height, width = read_labels(pairs[0][1]).shape
    figure, grid = plt.subplots(
        len(pairs),
        len(titles),
        figsize=(3.2 * len(titles), (3.2 * height / width + 0.05) * len(pairs) + 0.9),
        squeeze=False,
        layout='constrained',
    )
    for row, (image, label) in zip(grid, pairs, strict=True):
        maps = [label, *(folder / f'{image.stem}.png' for folder in predictions.values())]
        pictures = [np.asarray(Image.open(image)), *map(paint, map(read_labels, maps))]
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture, interpolation='nearest')
            axes.set_axis_off()
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    patches = [
        Patch(facecolor=f'#{bytes(colour).hex()}', edgecolor='black', linewidth=0.5, label=name)
        for name, colour in zip(CLASSES, PALETTE, strict=True)
    ]
    figure.legend(handles=patches, loc='outside lower center', ncols=6, frameon=False)
    figure.savefig(out_file, dpi=120)
    plt.close(figure)


def paint(labels: np.ndarray) -> np.ndarray:
    """Give a label map its colours: H x W x 3, uint8."""
    return np.array(PALETTE, np.uint8)[labels]
