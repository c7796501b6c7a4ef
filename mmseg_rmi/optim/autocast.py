"""Mixed-precision training without loss scaling."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Train under ``torch.autocast``, on a CPU as well as on a GPU.

    bfloat16 has the range of float32, so that gradients do not underflow and the loss needs no
    scaling. MMEngine's ``AmpOptimWrapper`` scales it, and refuses CPUs, although those with matrix
    units gain as well::

        optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')

    Args:
        dtype: ``'bfloat16'``, or ``'float32'``, which trains as without this wrapper.
        kwargs: passed on to ``mmengine.optim.OptimWrapper``.

    Raises:
        ValueError: any other ``dtype``.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {", ".join(DTYPES)}, got {dtype!r}')
        super().__init__(**kwargs)
        self.dtype = DTYPES[dtype]

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the forward pass in ``dtype``, where autocast considers it safe."""
        device = next(model.parameters()).device.type
        narrower = self.dtype is not torch.float32
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled=narrower):
            yield
