"""How the calling code is run: compiled, transformed, on tensors without values."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_compiling() -> bool:
    """Tell whether torch.compile or torch.export traces the calling code.

    torch tells from version 2.3 on; before, reading a value breaks the graph, which does no harm.

    Example:
        >>> is_compiling()
        False
    """
    is_compiling = getattr(torch.compiler, 'is_compiling', None)
    return is_compiling is not None and is_compiling()


def has_values(tensor: Tensor) -> bool:
    """Tell whether a tensor has data, which meta and fake tensors do not.

    Example:
        >>> has_values(torch.zeros(1)), has_values(torch.zeros(1, device='meta'))
        (True, False)
    """
    return not (tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor))


def full_precision(device_type: str) -> AbstractContextManager[Any]:
    """Switch autocast off, on devices that have it (the meta device does not).

    Example:
        >>> with torch.autocast('cpu', torch.bfloat16), full_precision('cpu'):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    if device_type == 'meta':
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def in_functorch() -> bool:
    """Tell whether ``torch.func.grad`` or another transform runs the calling code."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_transformed() -> bool:
    """Tell whether a transform of torch.func, or forward-mode AD, runs the calling code.

    Example:
        >>> with torch.autograd.forward_ad.dual_level():
        ...     is_transformed()
        True
    """
    return not is_compiling() and (in_functorch() or forward_ad._current_level >= 0)


def needs_plain_operations() -> bool:
    """Tell whether the calling code may use nothing but differentiable operations of torch.

    So it is where it is transformed, and where torch.export or torch.jit.trace records it.

    Example:
        >>> bool(torch.func.vmap(lambda x: x + needs_plain_operations())(torch.zeros(1)))
        True
    """
    is_exporting = getattr(torch.compiler, 'is_exporting', None)  # from torch 2.7 on
    if torch.jit.is_tracing() or (is_exporting is not None and is_exporting()):
        return True
    return is_transformed()


def is_batched(gradient: Tensor) -> bool:
    """Tell whether a backward pass with ``is_grads_batched=True`` brings several gradients at once.

    Example:
        >>> is_batched(torch.ones(2))
        False
    """
    is_batched = getattr(torch._C._functorch, 'is_legacy_batchedtensor', None)
    return is_batched is not None and not is_compiling() and is_batched(gradient)


def unwrap(tensor: Tensor) -> Tensor:
    """Return the plain tensor below the wrappers of ``torch.func``, all entries of a vmap at once.

    Example:
        >>> seen = []
        >>> _ = torch.func.vmap(lambda row: (seen.append(unwrap(row).shape), row)[1])(
        ...     torch.ones(2, 3)
        ... )
        >>> seen
        [torch.Size([2, 3])]
    """
    while not is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
