"""Steps whose loss is not finite."""

from __future__ import annotations

from torch import Tensor


def propagate_nonfinite(loss: Tensor) -> Tensor:
    """Return the loss; if it is not finite, all of its gradient is NaN.

    An infinite logit makes the loss infinite or NaN but, where sigmoids saturate, leaves the
    gradient finite; GradScaler looks at gradients alone and would take the step. The factor is 1
    for a finite loss and NaN for any other, and the host need not wait for it.

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
