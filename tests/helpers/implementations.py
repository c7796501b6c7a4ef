"""The ways to compute the loss that must agree with each other and with the oracle.

``torch_loss``, ``reference_loss``, ``streamed_loss`` and ``streamed_reference`` are called as the
functions of ``mmseg_rmi.functional``; those of ``LOSSES`` with settings by name,
``(logits, labels, weight=None, ignore_index=255, **settings)``.
"""

import functools

import torch
from torch import Tensor

from mmseg_rmi.functional import RMISettings, rmi_loss, streamed_rmi_loss
from mmseg_rmi.losses import RMILoss

reference_loss = functools.partial(rmi_loss, impl='reference')
torch_loss = functools.partial(rmi_loss, impl='torch')
streamed_loss = functools.partial(streamed_rmi_loss, impl='torch')
streamed_reference = functools.partial(streamed_rmi_loss, impl='reference')


def registered(logits: Tensor, labels: Tensor, weight=None, ignore_index=255, **settings) -> Tensor:
    return RMILoss(**settings)(logits, labels, weight=weight, ignore_index=ignore_index)


def functional(
    loss, region_dtype, logits: Tensor, labels: Tensor, weight=None, ignore_index=255, **settings
) -> Tensor:
    class_weight = settings.pop('class_weight', None)
    return loss(
        logits,
        labels,
        RMISettings(**settings),
        ignore_index=ignore_index,
        pixel_weight=weight,
        class_weight=None if class_weight is None else torch.tensor(class_weight),
        region_dtype=region_dtype,
    )


LOSSES = {
    'registered': registered,
    'torch-float32': functools.partial(functional, torch_loss, torch.float32),
    'reference-float64': functools.partial(functional, reference_loss, torch.float64),
    'reference-float32': functools.partial(functional, reference_loss, torch.float32),
}


def precision_of(name: str) -> torch.dtype:
    """Type that a loss of float64 logits rounds to on its way."""
    return torch.float32 if name.endswith('float32') else torch.float64


def value_and_gradient(loss, logits: Tensor, labels: Tensor, **settings):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels, **settings)
    value.backward()
    return value.detach(), logits.grad
