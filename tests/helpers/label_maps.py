"""Data samples as a segmentor returns them, and metrics run over them."""

import numpy as np
import torch
from mmengine.evaluator import Evaluator

import mmseg_rmi  # noqa: F401 (registers the metrics)

CLASSES = ('sky', 'road', 'pole')


def sample(prediction, truth, **more) -> dict:
    """A data sample of two label maps."""
    return {
        'pred_sem_seg': {'data': torch.as_tensor(prediction)[None]},
        'gt_sem_seg': {'data': torch.as_tensor(truth)[None]},
        **more,
    }


def blobs(seed: int, height: int = 17, width: int = 23, void: bool = True) -> tuple:
    """A prediction and a truth of three classes and ignored pixels, in rectangles."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, height, width), np.int64)
    for _ in range(6):
        (top, left), (rows, columns) = rng.integers(0, (height, width)), rng.integers(2, 9, 2)
        shift = rng.integers(-1, 2, 2)
        label = int(rng.integers(3))
        maps[1, top : top + rows, left : left + columns] = label
        top, left = max(top + shift[0], 0), max(left + shift[1], 0)
        maps[0, top : top + rows, left : left + columns] = label
    if void:
        top, left = rng.integers(0, (height - 4, width - 4))
        maps[1, top : top + 4, left : left + 3] = 255
    return maps[0], maps[1]


def evaluate(metric: dict, samples: list[dict], classes=CLASSES) -> dict:
    """What an evaluator of one metric makes of data samples."""
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=classes)
    for one in samples:
        evaluator.process([one])
    return evaluator.evaluate(len(samples))
