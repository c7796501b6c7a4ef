"""How much memory an operation of torch asks for at once."""

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Notes the bytes of every tensor that is made, views of other tensors aside.

    Attributes:
        sizes: bytes, the largest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {place_of(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and place_of(tensor) not in given:
                self.sizes.append(tensor.untyped_storage().nbytes())
        self.sizes.sort(reverse=True)
        return result


def place_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
