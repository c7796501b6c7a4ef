"""The arguments and the results that all implementations of the loss share.

Each implementation is one function::

    rmi_terms(logits, labels, pixel_weight, class_weight, normalizers, parameters) -> RMITerms

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits: the same, or a lower
resolution from which they are upsampled bilinearly first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.settings import RMISettings


class Normalizers(NamedTuple):
    """Divisors of the two sums of Eq. 16; scalars.

    In distributed training both are those of the global batch over the number of processes, so that
    the average of the processes' gradients is the gradient of the global batch.
    """

    pixels: Tensor
    images: Tensor


class RMITerms(NamedTuple):
    """The loss of a batch and its parts, all scalars.

    Attributes:
        total: both terms; the only one that can be differentiated.
        region: the region term's share of it.
        score: mean of the region scores of the images' classes, in [0, 1]; 0 where there is none
            or none was asked for.
        correct: number of valid pixels whose greatest logit is their label's (for one channel:
            whose logit is positive if and only if their label is 1); 0 if not asked for.
    """

    total: Tensor
    region: Tensor
    score: Tensor
    correct: Tensor


@dataclass(frozen=True)
class Parameters:
    """The constants of one call.

    Args:
        settings: the constants of the loss.
        ignore_index: label of pixels that do not count.
        align_corners: how logits of a lower resolution are upsampled, see
            :func:`torch.nn.functional.interpolate`.
        with_score: whether to find ``score`` and ``correct``.
        region_dtype: float64 or float32, of everything after the downsampling.
        downsample_factors: DF of each scale; the one of the settings by default.

    Example:
        >>> parameters = Parameters(RMISettings(), downsample_factors=(2, 4))
        >>> [settings.downsample_factor for settings in parameters.scales]
        [2, 4]
    """

    settings: RMISettings
    ignore_index: int = 255
    align_corners: bool = False
    with_score: bool = False
    region_dtype: torch.dtype = torch.float64
    downsample_factors: tuple[int, ...] | None = None

    @property
    def scales(self) -> list[RMISettings]:
        """The settings at every scale, the mean of which is the region term; none without one."""
        if self.settings.loss_lambda == 1:
            return []
        factors = self.downsample_factors or (self.settings.downsample_factor,)
        return [replace(self.settings, downsample_factor=factor) for factor in factors]


def batch_normalizers(labels: Tensor, ignore_index: int = 255) -> Normalizers:
    """Return ``valid pixels + 1`` and ``B``, for a batch that is whole.

    Args:
        labels: ``B x H x W``, integer.
        ignore_index: label of pixels that do not count.

    Example:
        >>> batch_normalizers(torch.tensor([[[0, 1, 255]]]))
        Normalizers(pixels=tensor(3), images=tensor(1))
    """
    valid = (labels != ignore_index).sum()
    return Normalizers(valid + 1, torch.full_like(valid, len(labels)))


def term_scales(
    normalizers: Normalizers, settings: RMISettings, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return ``lambda / pixels`` and ``(1 - lambda) / images``, the factors of the two sums.

    Args:
        normalizers: the divisors.
        settings: the constants of the loss.
        dtype: of the factors.

    Example:
        >>> term_scales(Normalizers(torch.tensor(4), torch.tensor(2)), RMISettings())
        (tensor(0.1250, dtype=torch.float64), tensor(0.2500, dtype=torch.float64))
    """
    pixels, images = (divisor.to(dtype) for divisor in normalizers)
    return settings.loss_lambda / pixels, (1 - settings.loss_lambda) / images


def default_region_dtype(device: torch.device) -> torch.dtype:
    """Return float64 where the device has it, else float32.

    Example:
        >>> default_region_dtype(torch.device('cpu'))
        torch.float64
    """
    return torch.float32 if device.type == 'mps' else torch.float64


def working_dtype(logits: Tensor) -> torch.dtype:
    """Return float64 for float64 logits, else float32: half precision is promoted."""
    return torch.promote_types(logits.dtype, torch.float32)


def zero_if_finite(values: Tensor) -> Tensor:
    """Return 0, or NaN if a value is not finite: an infinite one, which a sigmoid would hide.

    Unlike ``0 * values.sum()`` it does not overflow where finite values are very large.

    Example:
        >>> zero_if_finite(torch.tensor([3e38, 3e38])), zero_if_finite(torch.tensor([torch.inf]))
        (tensor(0.), tensor(nan))
    """
    low, high = values.aminmax()
    return low.mul(0) + high.mul(0)


def promote(logits: Tensor) -> Tensor:
    """Return logits in the working type."""
    return logits.to(working_dtype(logits))


def refuse_second_derivative() -> None:
    """Raise in a backward pass that is recorded, which would take the gradient for a constant.

    ``once_differentiable`` of torch does so only if what comes from above requires a gradient.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            'the gradient of this loss cannot be differentiated: call backward without '
            "create_graph=True, or take RMILoss(impl='reference'), which with loss_lambda=1 is "
            'SigmoidCrossEntropyLoss'
        )
