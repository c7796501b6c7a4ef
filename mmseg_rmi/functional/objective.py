"""The objective of the paper (Eq. 16): pixel-wise term plus region term.

Plain differentiable torch, written to be read beside the paper; the reference that faster code is
held against. Shapes: ``B`` images, ``C`` classes, ``H x W`` input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional.mutual_information import log_volume
from mmseg_rmi.functional.regions import kept_regions, region_points
from mmseg_rmi.functional.settings import RMISettings


class Normalizers(NamedTuple):
    """What the two sums of Eq. 16 are divided by; scalars.

    In distributed training both are those of the global batch over the number of processes, so that
    the average of the processes' gradients is the gradient of the global batch.
    """

    pixels: Tensor
    images: Tensor


def batch_normalizers(labels: Tensor, ignore_index: int = 255) -> Normalizers:
    """``valid pixels + 1`` and ``B``, for a batch that is whole.

    Args:
        labels: ``B x H x W``, integer.
        ignore_index: label of pixels that do not count.

    Example:
        >>> batch_normalizers(torch.tensor([[[0, 1, 255]]]))
        Normalizers(pixels=tensor(3), images=tensor(1))
    """
    valid = (labels != ignore_index).sum()
    return Normalizers(valid + 1, torch.full_like(valid, len(labels)))


def rmi_objective(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    ignore_index: int = 255,
    pixel_weight: Tensor | None = None,
    normalizers: Normalizers | None = None,
    region_dtype: torch.dtype | None = None,
) -> Tensor:
    """The overall objective: ``lambda * BCE + (1 - lambda) / B * sum_b sum_c -I_l`` (Eq. 16).

    Args:
        logits: ``B x C x H x W``, floating point; one channel is a binary map.
        labels: ``B x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1) or ``ignore_index``.
        settings: the constants of the objective; those of the released code by default.
        ignore_index: label of pixels that do not count.
        pixel_weight: ``B x H x W``, scales the pixel-wise term.
        normalizers: divisors of the two sums; those of this batch by default.
        region_dtype: precision of the region term; see :func:`default_region_dtype`.

    Returns:
        Scalar, in nats, of the logits' type, but float32 for half precision.

    Source: Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", NeurIPS 2019.

    Example:
        >>> logits = torch.randn(2, 3, 32, 32, requires_grad=True)
        >>> labels = torch.randint(3, (2, 32, 32))
        >>> loss = rmi_objective(logits, labels, RMISettings(region_size=2))
        >>> loss.backward()
        >>> bool(rmi_objective(logits - logits.grad, labels, RMISettings(region_size=2)) < loss)
        True
    """
    settings = settings or RMISettings()
    normalizers = normalizers or batch_normalizers(labels, ignore_index)
    logits = promote(logits)
    truth = one_hot(labels, logits.shape[1], ignore_index).to(logits.dtype)
    valid = (labels != ignore_index).unsqueeze(1)

    pixel_sum = cross_entropy_sum(logits, truth, valid, pixel_weight)
    pixel_term = settings.loss_lambda * pixel_sum / normalizers.pixels
    if settings.loss_lambda == 1:
        return pixel_term
    region_dtype = region_dtype or default_region_dtype(logits.device)
    bounds = negative_lower_bounds(truth, logits.sigmoid() * valid, valid, settings, region_dtype)
    region_term = (1 - settings.loss_lambda) * bounds.sum() / normalizers.images
    return pixel_term + region_term.to(logits.dtype)


def cross_entropy_sum(
    logits: Tensor,
    truth: Tensor,
    valid: Tensor,
    pixel_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid probabilities, summed over classes and valid pixels.

    Args:
        logits: ``B x C x H x W``.
        truth: ``B x C x H x W``, in [0, 1].
        valid: ``B x 1 x H x W``, boolean.
        pixel_weight: ``B x H x W``.
        class_weight: ``C``.

    Returns:
        Scalar, in nats.

    Example:
        >>> valid = torch.tensor([[[[True, False]]]])
        >>> cross_entropy_sum(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2), valid)  # log 2
        tensor(0.6931)
    """
    weight = valid.to(logits.dtype)
    if pixel_weight is not None:
        weight = weight * pixel_weight.unsqueeze(1)
    if class_weight is not None:
        weight = weight * class_weight.reshape(-1, 1, 1)
    return F.binary_cross_entropy_with_logits(logits, truth, weight, reduction='sum')


def negative_lower_bounds(
    truth: Tensor,
    probability: Tensor,
    valid: Tensor,
    settings: RMISettings,
    region_dtype: torch.dtype = torch.float64,
) -> Tensor:
    """``-I_l`` of every image and class (Eq. 14, 15), less its floor if ``settings.nonnegative``.

    Args:
        truth: one-hot map y, ``B x C x H x W``, 0 where ignored.
        probability: p, ``B x C x H x W``, 0 where ignored.
        valid: ``B x 1 x H x W``, boolean.
        settings: the constants of the objective.
        region_dtype: float64 or float32, the precision of everything after the down-sampling.

    Returns:
        ``B x C`` in nats, of ``region_dtype``. An image without two regions that count gives 0.
    """
    kept = kept_regions(valid, settings)
    truth = region_points(truth, kept, settings, region_dtype, interpolation='nearest')
    probability = region_points(probability, kept, settings, region_dtype)
    bound = log_volume(truth, probability, settings.ridge) / (2 * settings.dimension)

    # below 0 by rounding alone
    bound = bound.clamp(min=0) if settings.nonnegative else bound + settings.floor
    if kept is None:
        return bound * (valid.flatten(1).any(dim=1, keepdim=True) & (truth.shape[-1] >= 2))
    return bound * (kept.sum(dim=-1) >= 2)


def one_hot(labels: Tensor, channels: int, ignore_index: int = 255) -> Tensor:
    """One boolean map per class, false where ignored; one channel is the map of label 1.

    Args:
        labels: ``B x H x W``, integer.
        channels: C.
        ignore_index: label of pixels that do not count.

    Returns:
        ``B x C x H x W``, boolean.

    Example:
        >>> one_hot(torch.tensor([[[0, 1, 255]]]), 2).int()[0, :, 0]
        tensor([[1, 0, 0],
                [0, 1, 0]], dtype=torch.int32)
    """
    first = 1 if channels == 1 else 0
    classes = torch.arange(first, first + channels, device=labels.device).reshape(-1, 1, 1)
    labels = labels.unsqueeze(1)
    return (labels == classes) & (labels != ignore_index)


def promote(logits: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def default_region_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it, else float32.

    Example:
        >>> default_region_dtype(torch.device('cpu'))
        torch.float64
    """
    return torch.float32 if device.type == 'mps' else torch.float64
