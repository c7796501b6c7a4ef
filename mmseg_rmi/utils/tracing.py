"""What must not depend on the values of tensors while a graph is made."""

from __future__ import annotations

import torch


def is_compiling() -> bool:
    """Whether torch.compile or torch.export traces the code that asks.

    torch says so from version 2.3 on; before, a look at a value breaks the graph and all is well.

    Example:
        >>> is_compiling()
        False
    """
    is_compiling = getattr(torch.compiler, 'is_compiling', None)
    return is_compiling is not None and is_compiling()
