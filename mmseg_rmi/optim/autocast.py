"""Mixed-precision training without loss scaling."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Train under ``torch.autocast`` in bfloat16, on a CPU as well as on a GPU.

    bfloat16 has the range of float32, so that gradients do not underflow and the loss needs no
    scaling. MMEngine's ``AmpOptimWrapper`` scales it, and refuses CPUs, although those with matrix
    units gain as well. In a config it is ``optim_wrapper = dict(type='AutocastOptimWrapper', ...)``
    and takes the arguments of ``mmengine.optim.OptimWrapper``.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     output = model(torch.zeros(1, 2))
        >>> output.dtype, model.weight.dtype
        (torch.bfloat16, torch.float32)
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the forward pass in bfloat16, where autocast considers it safe."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
