"""States of the global random generators: Python's, NumPy's, PyTorch's, the current GPU's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]


def host_state() -> RandomState:
    """Return the state of the generators on the CPU, in numbers, strings, tuples and tensors.

    ``torch.load(weights_only=True)`` can therefore read it.
    """
    # Transforms of mmcv and mmseg draw from the global, legacy generator.
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        'python': random.getstate(),
        'numpy': (name, torch.as_tensor(np.asarray(keys, np.int64)), *rest),
        'torch': torch.get_rng_state(),
    }


def set_host_state(state: RandomState) -> None:
    """Restore the generators on the CPU to a state that :func:`host_state` returned."""
    random.setstate(state['python'])
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'].cpu())


def process_state() -> RandomState:
    """Return the state of all generators of this process, including its current GPU's."""
    state = host_state()
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_process_state(state: RandomState) -> None:
    """Restore all generators of this process to a state that :func:`process_state` returned."""
    set_host_state(state)
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the global generators on the CPU by ``entropy``, and restore them afterwards.

    Example:
        >>> import random
        >>> with seeded(0, 7):
        ...     first = random.random()
        >>> with seeded(0, 7):
        ...     first == random.random()
        True
    """
    outer = host_state()
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002
    # torch.manual_seed would also seed the GPUs, whose generators dropout draws from.
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    try:
        yield
    finally:
        set_host_state(outer)
