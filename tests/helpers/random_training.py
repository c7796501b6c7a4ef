"""A small training whose every part draws random numbers: augmentation, dropout, the loss.

The classes are registered by force, since pytest imports this module once more for its doctests.
"""

import random
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmseg.registry import DATASETS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset


@DATASETS.register_module(force=True)
class AugmentedNumbers(Dataset):
    """Vectors, disturbed by draws from all three generators that transforms use."""

    metainfo = dict(classes=('number',))

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = [random.random(), np.random.random(), torch.rand(()).item()]  # noqa: NPY002
        return dict(x=torch.tensor([float(index), *noise]), index=index)


@MODELS.register_module(force=True)
class Dropping(BaseModel):
    """A layer behind dropout; also counts on numpy's generator, as OHEM samplers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: list[torch.Tensor], index: Any, mode: str = 'tensor') -> Any:
        y = self.layer(torch.dropout(torch.stack(x), 0.5, self.training))
        return dict(loss=y.square().mean() * np.random.random()) if mode == 'loss' else y  # noqa: NPY002


@METRICS.register_module(force=True)
class Nothing(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(nothing=0.0)
