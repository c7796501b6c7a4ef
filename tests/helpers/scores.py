"""Region scores, step by step from the readable functions."""

from torch import Tensor

from mmseg_rmi.functional import RMISettings, region_score
from mmseg_rmi.functional.downsampling import downsample
from mmseg_rmi.functional.maps import one_hot
from mmseg_rmi.functional.regions import centre, extract_regions


def region_scores(
    logits: Tensor, labels: Tensor, settings: RMISettings, ignore_index: int = 255
) -> Tensor:
    """``B x C``, NaN where undefined, of ``ignored='zero'``."""
    truth = one_hot(labels, logits.shape[1], ignore_index).to(logits.dtype)
    probability = logits.sigmoid() * (labels != ignore_index).unsqueeze(1)

    def points(maps: Tensor, **interpolation: str) -> Tensor:
        pooled = downsample(maps, settings.downsample, settings.downsample_factor, **interpolation)
        regions = extract_regions(pooled.double(), settings.region_size)
        return centre(regions) / regions.shape[-1] ** (0.5 * (settings.covariance == 'mean'))

    return region_score(points(truth, interpolation='nearest'), points(probability), settings.ridge)
