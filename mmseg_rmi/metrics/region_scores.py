"""How much of the true regions the predicted probabilities explain."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.functional import RMISettings, region_score
from mmseg_rmi.functional.contract import default_region_dtype, promote
from mmseg_rmi.functional.maps import one_hot
from mmseg_rmi.functional.regions import check_region_fits, kept_regions, paired_points
from mmseg_rmi.losses.validation import check_inputs


def region_scores(
    probabilities: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    ignore_index: int = 255,
) -> Tensor:
    """Compute the region score of each class in each image of a batch.

    The score is the lower bound of the mutual information between true and predicted regions,
    relative to that of a perfect prediction, see :func:`mmseg_rmi.functional.region_score`. Unlike
    IoU, it measures the probabilities and their arrangement, not which of them is the largest.

    Args:
        probabilities: ``B x C x H x W``, floating point, in [0, 1]; for C = 1, that of label 1.
        labels: ``B x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1) or ``ignore_index``.
        settings: settings of the regions; None takes the defaults of ``RMILoss``.
        ignore_index: label to ignore.

    Returns:
        ``B x C``, float64, on the CPU whatever the device of the arguments, from 0 (the regions are
        independent) to 1 (a perfect prediction); NaN where the class is absent from the image, so
        that ``nanmean(dim=0)`` averages over images.

    Raises:
        ValueError: shapes or labels that do not fit, or maps too small for a region.
        TypeError: probabilities that are not floating point, labels that are not integer.

    Example:
        >>> labels = torch.zeros(1, 32, 32, dtype=torch.long)
        >>> labels[:, 10:] = 1
        >>> truth = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).double()
        >>> region_scores(truth, labels)
        tensor([[1., 1.]], dtype=torch.float64)
    """
    settings = settings or RMISettings()
    check_inputs(probabilities, labels, None, ignore_index, name='probabilities')
    check_region_fits(probabilities.shape[-2:], settings)
    probabilities, labels = promote(probabilities), labels.long()
    scores = [
        _scores_of_image(probability, label, settings, ignore_index)
        for probability, label in zip(probabilities, labels, strict=True)
    ]
    return torch.stack(scores)


def _scores_of_image(
    probability: Tensor, label: Tensor, settings: RMISettings, ignore_index: int
) -> Tensor:
    """Score ``C`` classes one after the other, which takes the memory of one."""
    valid = label != ignore_index
    kept = kept_regions(valid, settings)
    dtype = default_region_dtype(probability.device)
    masks = one_hot(label[None], len(probability), ignore_index)[0].to(probability.dtype)
    scores = torch.full([len(probability)], torch.nan, dtype=torch.float64)
    for channel in masks.flatten(1).any(dim=1).nonzero().flatten().tolist():
        truth, prediction = masks[channel], probability[channel] * valid
        points = paired_points(truth[None, None], prediction[None, None], kept, settings, dtype)
        scores[channel] = region_score(*points, settings.ridge)
    return scores
