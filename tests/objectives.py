"""The ways to compute the objective that must agree with each other and with the oracle.

Each is called ``(logits, labels, weight=None, ignore_index=255, **settings)``.
"""

import functools

import torch
from torch import Tensor

from mmseg_rmi.functional import RMISettings, rmi_objective
from mmseg_rmi.losses import RMILoss


def registered(logits: Tensor, labels: Tensor, weight=None, ignore_index=255, **settings) -> Tensor:
    return RMILoss(**settings)(logits, labels, weight=weight, ignore_index=ignore_index)


def reference(
    logits: Tensor, labels: Tensor, weight=None, ignore_index=255, region_dtype=None, **settings
) -> Tensor:
    return rmi_objective(
        logits,
        labels,
        RMISettings(**settings),
        ignore_index=ignore_index,
        pixel_weight=weight,
        region_dtype=region_dtype,
    )


OBJECTIVES = {
    'registered': registered,
    'reference-float64': functools.partial(reference, region_dtype=torch.float64),
    'reference-float32': functools.partial(reference, region_dtype=torch.float32),
}


def value_and_gradient(objective, logits: Tensor, labels: Tensor, **settings):
    logits = logits.detach().clone().requires_grad_()
    loss = objective(logits, labels, **settings)
    loss.backward()
    return loss.detach(), logits.grad
