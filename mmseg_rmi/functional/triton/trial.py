"""A trial of the kernels on a device, before the first loss there relies on them.

Triton builds kernels where they run, with the compilers and the driver that it finds, and its
releases differ, so each kind of kernels is tried once on each card: those of a type of logits and
of the settings that they are built for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmseg_rmi.functional import reference
from mmseg_rmi.functional.contract import Parameters, RMITerms, batch_normalizers
from mmseg_rmi.utils.tracing import full_precision

# Relative. In float32 they differ by less than 1e-5, by rounding alone; half precision rounds the
# gradient, bfloat16 the slopes as well, and one large element may be most of the norm.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Kind:
    """A kind of kernels, by what they are built for.

    Args:
        device: of the logits.
        parameters: the constants of a call, of one scale.
        dtype: of the logits.
        channels: 1, or 3 for any other number.
        streamed: whether logits are upsampled on the way.

    Example:
        >>> from mmseg_rmi.functional.settings import RMISettings
        >>> kind = Kind(torch.device('cuda'), Parameters(RMISettings(loss_lambda=0.9)))
        >>> kind.parameters.settings.loss_lambda  # kernels do not depend on it
        0.5
    """

    device: torch.device
    parameters: Parameters
    dtype: torch.dtype = torch.float32
    channels: int = 3
    streamed: bool = False

    def __post_init__(self) -> None:
        settings = self.parameters.settings
        settings = replace(settings, loss_lambda=1.0 if settings.loss_lambda == 1 else 0.5)
        object.__setattr__(self, 'parameters', replace(self.parameters, settings=settings))


@functools.cache
def failure(kind: Kind) -> str | None:
    """Return what is wrong with kernels of a kind, or None if they give the right loss.

    Computes value and gradient for a few pixels, and compares them with those of the reference on
    the CPU; once in a process.
    """
    from mmseg_rmi.functional.triton import operators  # imports triton

    with torch.device('cpu'):  # whatever torch.set_default_device says
        logits, labels = _make_batch(kind)
        expected = _find_value_and_gradient(reference.rmi_terms, logits, labels, kind.parameters)
    try:
        measured = _find_value_and_gradient(
            operators.rmi_terms, logits.to(kind.device), labels.to(kind.device), kind.parameters
        )
    except Exception as error:  # of Triton, of the compilers it calls, of the driver
        reason = ' '.join(str(error).split())
        return f'a trial of the kernels failed with {type(error).__name__}: {reason:.500}'
    for name, right, seen in zip(('loss', 'gradient'), expected, measured, strict=True):
        difference = float((seen.cpu().float() - right.float()).norm() / right.float().norm())
        if not difference <= TOLERANCES[kind.dtype]:
            return (
                f'in a trial of the kernels the {name} was off by {difference:.1e} of itself; '
                'please report it with the versions of torch and triton, and the name of the card'
            )
    return None


def _make_batch(kind: Kind) -> tuple[Tensor, Tensor]:
    """Return logits ``2 x C x H x W`` and labels: a class is absent, some pixels are ignored."""
    settings = kind.parameters.settings
    height = max(24, settings.downsample_factor * (settings.region_size + 3))
    width = height + 2
    labels = torch.arange(2 * height * width).reshape(2, height, width) // 37 % 2
    labels[:, 4:7, :9] = kind.parameters.ignore_index
    size = (height // 4, width // 4 + 1) if kind.streamed else (height, width)
    shape = (2, kind.channels, *size)
    logits = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).sin() * 3
    return logits.reshape(shape).to(kind.dtype), labels


def _find_value_and_gradient(
    rmi_terms: Callable[..., RMITerms], logits: Tensor, labels: Tensor, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    normalizers = batch_normalizers(labels, parameters.ignore_index)
    with torch.inference_mode(False), torch.enable_grad(), full_precision(logits.device.type):
        logits = logits.clone().requires_grad_()
        terms = rmi_terms(logits, labels, None, None, normalizers, parameters)
        return terms.total.detach(), torch.autograd.grad(terms.total, logits)[0]
