"""The ways to compute the objective that must agree with each other and with the oracle.

Each is called ``(logits, labels, weight=None, ignore_index=255, **settings)``.
"""

import functools

import torch
from torch import Tensor

from mmseg_rmi.functional import RMISettings, one_pass_objective, rmi_objective
from mmseg_rmi.losses import RMILoss


def registered(logits: Tensor, labels: Tensor, weight=None, ignore_index=255, **settings) -> Tensor:
    return RMILoss(**settings)(logits, labels, weight=weight, ignore_index=ignore_index)


def functional(
    objective,
    region_dtype,
    logits: Tensor,
    labels: Tensor,
    weight=None,
    ignore_index=255,
    **settings,
) -> Tensor:
    return objective(
        logits,
        labels,
        RMISettings(**settings),
        ignore_index=ignore_index,
        pixel_weight=weight,
        region_dtype=region_dtype,
    )


OBJECTIVES = {
    'registered': registered,
    'one-pass-float32': functools.partial(functional, one_pass_objective, torch.float32),
    'reference-float64': functools.partial(functional, rmi_objective, torch.float64),
    'reference-float32': functools.partial(functional, rmi_objective, torch.float32),
}


def precision_of(name: str) -> torch.dtype:
    """Type that an objective of float64 logits rounds to on its way."""
    return torch.float32 if name.endswith('float32') else torch.float64


def value_and_gradient(objective, logits: Tensor, labels: Tensor, **settings):
    logits = logits.detach().clone().requires_grad_()
    loss = objective(logits, labels, **settings)
    loss.backward()
    return loss.detach(), logits.grad
