"""Region scores, step by step from the readable functions."""

import torch
from torch import Tensor

from mmseg_rmi.functional import (
    RMISettings,
    centre,
    downsample,
    extract_regions,
    one_hot,
    region_score,
)


def region_scores(
    logits: Tensor, labels: Tensor, settings: RMISettings, ignore_index: int = 255
) -> Tensor:
    """``B x C``, NaN where undefined, of ``ignored='zero'``."""
    truth = one_hot(labels, logits.shape[1], ignore_index).to(logits.dtype)
    probability = logits.sigmoid() * (labels != ignore_index).unsqueeze(1)

    def points(maps: Tensor, **interpolation: str) -> Tensor:
        pooled = downsample(maps, settings.downsample, settings.downsample_factor, **interpolation)
        regions = extract_regions(pooled.double(), settings.region_size)
        return centre(regions, torch.ones(regions.shape[-1]) > 0, settings.covariance)

    return region_score(points(truth, interpolation='nearest'), points(probability), settings.ridge)
