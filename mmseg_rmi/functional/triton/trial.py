"""A trial of the kernels on a device, before the first loss there relies on them.

Triton builds kernels where they run, with the compilers and the driver that it finds, and its
releases differ, so the kernels are tried once on each card.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_rmi.functional import reference
from mmseg_rmi.functional.contract import Parameters, RMITerms, batch_normalizers
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.utils.tracing import full_precision

TOLERANCE = 1e-3  # relative; by rounding alone they differ by less than 1e-5


@functools.cache
def failure(device: torch.device, streamed: bool) -> str | None:
    """Return what is wrong with the kernels on a device, or None if they give the right loss.

    Computes value and gradient for a few pixels, and compares them with those of the reference on
    the CPU; once in a process.

    Args:
        device: of the logits.
        streamed: whether logits are up-sampled on the way.
    """
    from mmseg_rmi.functional.triton import operators  # imports triton

    with torch.device('cpu'):  # whatever torch.set_default_device says
        logits, labels = _make_batch(streamed)
        expected = _find_value_and_gradient(reference.rmi_terms, logits, labels)
    try:
        measured = _find_value_and_gradient(
            operators.rmi_terms, logits.to(device), labels.to(device)
        )
    except Exception as error:  # of Triton, of the compilers it calls, of the driver
        reason = ' '.join(str(error).split())
        return f'a trial of the kernels failed with {type(error).__name__}: {reason:.500}'
    for name, right, seen in zip(('loss', 'gradient'), expected, measured, strict=True):
        difference = float((seen.cpu() - right).norm() / right.norm())
        if not difference <= TOLERANCE:
            return (
                f'in a trial of the kernels the {name} was off by {difference:.1e} of itself; '
                'please report it with the versions of torch and triton, and the name of the card'
            )
    return None


def _make_batch(streamed: bool) -> tuple[Tensor, Tensor]:
    """Return logits ``2 x 3 x H x W`` and labels: a class is absent, some pixels are ignored."""
    labels = torch.arange(2 * 24 * 26).reshape(2, 24, 26) // 37 % 2
    labels[:, 4:7, :9] = 255
    size = (6, 7) if streamed else labels.shape[1:]
    logits = torch.arange(2 * 3 * size[0] * size[1], dtype=torch.float32).sin() * 3
    return logits.reshape(2, 3, *size), labels


def _find_value_and_gradient(
    rmi_terms: Callable[..., RMITerms], logits: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad(), full_precision(logits.device.type):
        logits = logits.clone().requires_grad_()
        parameters = Parameters(RMISettings(), with_score=True)
        terms = rmi_terms(logits, labels, None, None, batch_normalizers(labels), parameters)
        return terms.total.detach(), torch.autograd.grad(terms.total, logits)[0]
