"""Label maps and scores of models on the images of a data set, and which to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_rmi import launch
from tools.analysis.named_folders import parse_named_folders

VOID = 255
LOADING = ('LoadImageFromFile', 'LoadAnnotations')


@dataclass(frozen=True)
class View:
    """An image, ``H x W x 3`` RGB, its true labels, ``H x W``, and what each model predicts."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]

    @property
    def valid(self) -> np.ndarray:
        """Return where there is a truth: ``H x W``, boolean."""
        return self.truth != VOID


@dataclass(frozen=True)
class Choice:
    """An image to show, and why: the ``rank``-th of its kind."""

    kind: str
    rank: int
    index: int


def parse_models(arguments: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=FOLDER`` arguments, folders of predictions.

    Raises:
        ValueError: one is not of that form, a name comes twice, or a folder is none.
    """
    models = parse_named_folders(arguments)
    for folder in models.values():
        if not folder.is_dir():
            raise ValueError(
                f'{folder} is not a folder: make it with python tools/test.py CONFIG CHECKPOINT '
                f'--out {folder}'
            )
    return models


def open_dataset(config: str, options: Mapping[str, Any] | None = None) -> BaseSegDataset:
    """Open a config's test set such that it loads images and labels as they are.

    Raises:
        ValueError: its pipeline does not load both.
    """
    cfg = launch.load_config(config)
    cfg.merge_from_dict(dict(options or {}))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = cfg.test_dataloader.dataset
    loading = [step for step in dataset.get('pipeline', []) if step['type'] in LOADING]
    if sorted(step['type'] for step in loading) != sorted(LOADING):
        raise ValueError(f'the test pipeline of {config} needs {" and ".join(LOADING)}')
    dataset.pipeline = loading
    return DATASETS.build(dataset)


def read_view(dataset: BaseSegDataset, index: int, models: Mapping[str, Path]) -> View:
    """Read an image, its truth and the label maps that ``tools/test.py --out`` wrote.

    Raises:
        ValueError: a model has no prediction, one of another size, or one of unknown classes.
    """
    found = dataset[index]
    name = Path(found['img_path']).stem
    truth = found['gt_seg_map']
    truth = np.where(truth == dataset.ignore_index, VOID, truth)
    first = 1 if found.get('reduce_zero_label') else 0  # such predictions are saved one higher
    predictions = {
        model: read_prediction(folder / f'{name}.png', truth.shape, first, dataset)
        for model, folder in models.items()
    }
    return View(name, np.ascontiguousarray(found['img'][..., ::-1]), truth, predictions)


def read_prediction(
    file: Path, shape: tuple[int, ...], first: int, dataset: BaseSegDataset
) -> np.ndarray:
    """Read a predicted label map, ``H x W``, whose class 0 is saved as ``first``."""
    if not file.is_file():
        raise ValueError(f'{file} is missing: were these predictions made on another data set?')
    labels = np.asarray(Image.open(file)).astype(np.int64) - first
    if labels.shape != shape:
        raise ValueError(f'{file} is {labels.shape}, the true label map {shape}')
    classes = len(dataset.metainfo['classes'])
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f'{file} holds labels {labels.min()} to {labels.max()}, and the data set has '
            f'{classes} classes'
        )
    return labels


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns), void ones left out."""
    valid = truth != VOID
    cells = truth[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: np.ndarray, classes: np.ndarray | None = None) -> float:
    """MIoU in percent, of the ``classes`` (boolean) or of all that have a pixel, as mmseg's."""
    hits = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hits
    kept = union > 0 if classes is None else classes
    return float(100 * (hits[kept] / union[kept]).mean()) if kept.any() else float('nan')


def image_score(counts: np.ndarray) -> float:
    """MIoU in percent of the classes that the image holds.

    A class that only a prediction holds counts through the pixels that it takes from others; a
    stray pixel of it must not halve the score of an image of two classes.
    """
    return mean_iou(counts, counts.sum(1) > 0)


def choose(values: np.ndarray, each: int, *, are_gains: bool) -> list[Choice]:
    """Choose the highest, the middle and the lowest values, ``each`` of a kind, no image twice.

    Args:
        values: of each image; NaN where there is none, and such an image is not chosen.
        each: how many of a kind.
        are_gains: whether they are gains of one model over another, or scores.
    """
    order = np.argsort(-values, kind='stable')
    order = order[~np.isnan(values[order])]
    each = min(each, -(-len(order) // 3))
    from_middle = np.argsort(abs(np.arange(len(order)) - (len(order) - 1) / 2), kind='stable')
    if are_gains:
        top, bottom = _gain_name(values, order, 0), _gain_name(values, order, -1)
    else:
        top, bottom = 'highest score', 'lowest score'
    groups = {
        top: order[:each],
        'median': order[from_middle[:each]],
        bottom: order[::-1][:each],
    }
    taken: set[int] = set()
    choices = []
    for kind, group in groups.items():
        for rank, index in enumerate(map(int, group), start=1):
            if index not in taken:
                choices.append(Choice(kind, rank, index))
                taken.add(index)
    return choices


def _gain_name(values: np.ndarray, order: np.ndarray, place: int) -> str:
    """A largest 'gain' below 0 is a smallest loss, and must not be sold as a gain."""
    if not len(order):
        return ''
    gained = values[order[place]] > 0
    if place == 0:
        return 'largest gain' if gained else 'smallest loss'
    return 'smallest gain' if gained else 'largest loss'


def disagreement(view: View) -> np.ndarray:
    """Return where models differ (a single model: from the truth), ``H x W``, boolean."""
    first, *others = view.predictions.values()
    others = others or [view.truth]
    return np.any([other != first for other in others], axis=0) & view.valid


def densest_windows(mask: np.ndarray, size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Upper left corners of the windows that hold most of a mask, disjoint in what they count.

    Of several that hold as much, the one in their midst, which has what it holds in its midst.
    """
    rest, corners = mask.copy(), []
    height, width = size
    for _ in range(count):
        if not rest.any():
            break
        total = np.pad(rest.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = total[height:, width:] - total[:-height, width:]
        inside = inside - total[height:, :-width] + total[:-height, :-width]
        fullest = np.argwhere(inside == inside.max())
        off = np.square(fullest - fullest.mean(axis=0)).sum(axis=1)
        top, left = map(int, fullest[off.argmin()])
        corners.append((top, left))
        rest[top : top + height, left : left + width] = False
    return corners
