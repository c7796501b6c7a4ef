"""Functions of logits that make their gradient on the way to their value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def value_with_gradient(
    compute: Callable[..., tuple[Tensor, ...]], logits: Tensor, *others: Tensor | None
) -> tuple[Tensor, ...]:
    """Call ``compute``, so that a backward pass finds the gradient by the logits made already.

    The gradient is kept in float32 or better until it is scaled by what comes from above. Without
    gradients (``torch.no_grad``, ``inference_mode``) only the value is made.

    Args:
        compute: takes the logits, the others and the memory for the gradient, to be written, or
            None; returns the value and what else it found, which cannot be differentiated.
        logits: floating point.
        others: what the value depends on beside the logits, constant.

    Returns:
        What ``compute`` does.

    Raises:
        RuntimeError: when a second derivative is asked for.

    Example:
        >>> def half_square(logits, gradient):
        ...     if gradient is not None:
        ...         gradient.copy_(logits)
        ...     return (logits.square().sum() / 2,)
        >>> logits = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> (value,) = value_with_gradient(half_square, logits)
        >>> value.backward()
        >>> value.item(), logits.grad.tolist()
        (2.5, [1.0, 2.0])
    """
    if torch.is_grad_enabled() and logits.requires_grad:
        return _GradientWithValue.apply(logits, compute, *others)
    return compute(logits, *others, None)


class _GradientWithValue(torch.autograd.Function):
    """Makes the gradient with the value, for the first backward pass; another makes it anew.

    What ``compute`` works with is not kept until then: the network's backward pass has use for
    that memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        compute: Callable[..., tuple[Tensor, ...]],
        *others: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, *others)
        ctx.compute = compute
        ctx.gradient = _memory_of_gradient(logits)
        value, *found = compute(logits, *others, ctx.gradient)
        ctx.mark_non_differentiable(*found)
        return value, *found

    @staticmethod
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        logits, *others = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            gradient = _memory_of_gradient(logits)
            ctx.compute(logits, *others, gradient)
        return gradient.mul_(scale).to(logits.dtype), None, *[None] * len(others)


def working_dtype(logits: Tensor) -> torch.dtype:
    """float64 for float64 logits, else float32."""
    return torch.promote_types(logits.dtype, torch.float32)


def _memory_of_gradient(logits: Tensor) -> Tensor:
    return torch.empty(logits.shape, dtype=working_dtype(logits), device=logits.device)


def _refuse_second_derivative() -> None:
    """Raise in a backward pass that is recorded, which would take the gradient for a constant.

    ``once_differentiable`` of torch does so only if what comes from above requires a gradient.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            'the gradient of the RMI objective cannot be differentiated: call backward without '
            'create_graph=True, or take mmseg_rmi.functional.rmi_objective'
        )
