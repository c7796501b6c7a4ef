"""Gradients of a loss that is not finite."""

from __future__ import annotations

from torch import Tensor


def propagate_nonfinite(loss: Tensor) -> Tensor:
    """Return the loss, with a gradient that is NaN throughout if the loss is not finite.

    An infinite logit makes the loss infinite or NaN but, where sigmoids saturate, leaves the
    gradient finite; GradScaler looks at gradients only and would take the step. The factor is 1
    for a finite loss and NaN otherwise, and is computed without waiting for the device.

    Args:
        loss: scalar.

    Example:
        >>> import torch
        >>> logit = torch.tensor(torch.inf, requires_grad=True)
        >>> propagate_nonfinite(logit.relu()).backward()  # the gradient of relu is 1
        >>> logit.grad
        tensor(nan)
    """
    return loss * (1 + 0 * loss.detach())
