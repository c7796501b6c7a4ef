"""How much memory an operation of torch asks for at once."""

import gc

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmseg_rmi.functional.blocked import workspace


class Allocations(TorchDispatchMode):
    """Notes the bytes of every tensor that is made, views of other tensors aside."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: list[int] = []

    @property
    def sizes(self) -> list[int]:
        """Bytes, the most first."""
        return sorted(self._sizes, reverse=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {place_of(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and place_of(tensor) not in given:
                self._sizes.append(tensor.untyped_storage().nbytes())
        return result


def place_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def limit_blocks(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """Let blocks of maps, and of points, take that many bytes; one map is always allowed."""
    budgets = dict.fromkeys(['cpu', 'cuda'], (budget, budget))
    monkeypatch.setattr(workspace, 'BLOCK_BYTES', budgets)


def workspaces() -> list[workspace.Workspace]:
    """Return those that are alive, each with its memory."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is workspace.Workspace]
