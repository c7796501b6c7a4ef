"""The loss of the paper (Eq. 16) as it is written there: pixel-wise term plus region term.

Plain differentiable torch, to be read beside the paper; the implementation that the fast ones are
held against. Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``d = R * R``, ``n`` points.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional.contract import Normalizers, Parameters, RMITerms, promote
from mmseg_rmi.functional.maps import count_correct, one_hot
from mmseg_rmi.functional.mutual_information import log_volume, region_score
from mmseg_rmi.functional.regions import kept_regions, paired_points
from mmseg_rmi.functional.settings import RMISettings


def rmi_terms(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    normalizers: Normalizers,
    parameters: Parameters,
) -> RMITerms:
    """Compute ``lambda * pixel term + (1 - lambda) / B * sum_b sum_c -I_l`` (Eq. 16).

    Args:
        logits: ``B x C x H' x W'``, floating point; one channel is a binary map.
        labels: ``B x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1) or ``ignore_index``.
        pixel_weight: ``B x H x W``, scales the pixel-wise term.
        class_weight: ``C``, scales the pixel-wise term.
        normalizers: divisors of the two sums.
        parameters: the constants of the call.

    Example:
        >>> logits, labels = torch.zeros(1, 2, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long)
        >>> parameters = Parameters(RMISettings(loss_lambda=1.0))
        >>> normalizers = Normalizers(torch.tensor(64), torch.tensor(1))
        >>> rmi_terms(logits, labels, None, None, normalizers, parameters).total  # 2 log 2
        tensor(1.3863)
    """
    settings, ignore_index = parameters.settings, parameters.ignore_index
    logits = up_sample(promote(logits), labels, parameters.align_corners)
    truth = one_hot(labels, logits.shape[1], ignore_index)
    valid = (labels != ignore_index).unsqueeze(1)

    losses = pixel_losses(logits, truth, settings.pixel_term, class_weight) * valid
    if pixel_weight is not None:
        losses = losses * pixel_weight.to(losses.dtype).unsqueeze(1)
    total = settings.loss_lambda * losses.sum() / normalizers.pixels
    region = score = correct = torch.zeros_like(total)
    if scales := parameters.scales:
        probability = activate(logits, settings.activation) * valid
        bounds, scores = [], []
        for scale in scales:
            kept = kept_regions(valid, scale)
            truth_points, points = paired_points(
                truth.to(probability.dtype), probability, kept, scale, parameters.region_dtype
            )
            bounds.append(negative_lower_bounds(truth_points, points, valid, kept, scale))
            if parameters.with_score:
                found = region_score(truth_points, points.detach(), settings.ridge)
                scores.append(found.nanmean().nan_to_num())
        mean_bounds = torch.stack(bounds).mean(dim=0)
        region = (1 - settings.loss_lambda) * mean_bounds.sum() / normalizers.images
        total, region = total + region.to(total.dtype), region.detach().to(total.dtype)
        if parameters.with_score:
            score = torch.stack(scores).mean()
    if parameters.with_score:
        correct = count_correct(logits, labels, ignore_index)
    return RMITerms(total, region, score, correct)


def up_sample(logits: Tensor, labels: Tensor, align_corners: bool) -> Tensor:
    """Interpolate logits bilinearly to the size of the labels; the identity where it is theirs."""
    size = labels.shape[1:]
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)


def activate(logits: Tensor, activation: str) -> Tensor:
    """Return the probabilities of logits ``B x C x H x W``, by sigmoid or softmax."""
    return logits.sigmoid() if activation == 'sigmoid' else logits.softmax(dim=1)


def pixel_losses(
    logits: Tensor, truth: Tensor, pixel_term: str, class_weight: Tensor | None = None
) -> Tensor:
    """Compute the cross entropy of every pixel and class, in nats.

    ``'bce'``: ``-y log p - (1 - y) log(1 - p)`` with p the sigmoid; ``'ce'``: ``-y log p`` with p
    the softmax. Either is scaled by the weight of its class.

    Args:
        logits: ``B x C x H x W``.
        truth: one-hot map y, ``B x C x H x W``, boolean.
        pixel_term: ``'bce'`` or ``'ce'``.
        class_weight: ``C``.

    Returns:
        ``B x C x H x W``; sum it over classes and valid pixels.

    Example:
        >>> truth = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        >>> pixel_losses(torch.zeros(1, 1, 1, 1), truth, 'bce').item()  # log 2
        0.6931471824645996
    """
    if pixel_term == 'bce':
        target = truth.to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    else:
        losses = -logits.log_softmax(dim=1) * truth
    if class_weight is None:
        return losses
    return losses * class_weight.to(losses.dtype).reshape(-1, 1, 1)


def negative_lower_bounds(
    truth: Tensor,
    prediction: Tensor,
    valid: Tensor,
    kept: Tensor | None,
    settings: RMISettings,
) -> Tensor:
    """Compute ``-I_l`` of every image and class (Eq. 14, 15), less its floor if ``nonnegative``.

    Args:
        truth: Y, ``B x C x d x n``, centred and scaled points of the one-hot maps.
        prediction: P, ``B x C x d x n``, likewise of the probabilities.
        valid: ``B x 1 x H x W``, boolean.
        kept: ``B x 1 x n``, boolean, the regions that count; None if all do.
        settings: the constants of the loss.

    Returns:
        ``B x C`` in nats, of the points' type. An image without two regions that count gives 0.
    """
    bound = log_volume(truth, prediction, settings.ridge) / (2 * settings.dimension)
    # below 0 by rounding alone
    bound = bound.clamp(min=0) if settings.nonnegative else bound + settings.floor
    if kept is None:
        return bound * (valid.flatten(1).any(dim=1, keepdim=True) & (truth.shape[-1] >= 2))
    return bound * (kept.sum(dim=-1) >= 2)
