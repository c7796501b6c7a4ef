"""What tests of the losses share."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Reads(TorchDispatchMode):
    """Notes the calls by which the host gets a value of a tensor, and would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten._local_scalar_dense:  # of item, bool, float ...
            self.calls.append('item')
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host_reads(monkeypatch) -> Iterator[list[str]]:
    """The host's reads of values of tensors so far."""
    tolist = torch.Tensor.tolist  # which reads the memory of a CPU without an operation
    with Reads() as reads:
        monkeypatch.setattr(
            torch.Tensor, 'tolist', lambda self: reads.calls.append('tolist') or tolist(self)
        )
        yield reads.calls
