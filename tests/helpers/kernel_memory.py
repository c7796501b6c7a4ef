"""Watches the memory that kernels touch while Triton's interpreter runs them."""

from typing import NamedTuple

import numpy as np
import torch
from triton.runtime import interpreter


class Accesses(NamedTuple):
    """Places that one launch read or wrote, each with the program that did so."""

    addresses: list[np.ndarray]
    programs: list[np.ndarray]

    def joined(self) -> np.ndarray:
        """All distinct pairs of an address and a program, sorted by address."""
        if not self.addresses:
            return np.empty((0, 2), np.uint64)
        pairs = np.concatenate(self.addresses), np.concatenate(self.programs)
        return np.unique(np.stack(pairs, axis=1), axis=0)


class MemoryWatch:
    """Notes accesses outside of a launch's tensors, and those that depend on the order of programs.

    On a GPU programs run at once: none may write where another reads or writes.

    Attributes:
        outside: names of kernels that touched memory beyond the storage of their arguments.
        shared: names of kernels of which two programs touched one place, and one of them wrote.
    """

    def __init__(self, monkeypatch) -> None:
        self.outside: set[str] = set()
        self.shared: set[str] = set()
        builder = type(interpreter.interpreter_builder)
        launch = interpreter.GridExecutor.__call__
        load, store = builder.create_masked_load, builder.create_masked_store

        def watched_launch(executor, *arguments, **options):
            self.kernel = executor.fn.__name__
            self.reads, self.writes = Accesses([], []), Accesses([], [])
            self.storages = [
                (each.untyped_storage().data_ptr(), each.untyped_storage().nbytes())
                for each in arguments
                if isinstance(each, torch.Tensor)
            ]
            launch(executor, *arguments, **options)
            self._compare()

        def watched_load(builder, pointers, mask, *rest):
            self._note(builder, self.reads, pointers, mask)
            return load(builder, pointers, mask, *rest)

        def watched_store(builder, pointers, value, mask, *rest):
            self._note(builder, self.writes, pointers, mask)
            return store(builder, pointers, value, mask, *rest)

        monkeypatch.setattr(interpreter.GridExecutor, '__call__', watched_launch)
        monkeypatch.setattr(builder, 'create_masked_load', watched_load)
        monkeypatch.setattr(builder, 'create_masked_store', watched_store)

    def _note(self, builder, accesses: Accesses, pointers, mask) -> None:
        touched = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].astype(np.uint64)
        within = np.zeros(touched.shape, bool)
        for start, size in self.storages:
            within |= (touched >= start) & (touched < start + size)
        if not within.all():
            self.outside.add(self.kernel)
        program = np.ravel_multi_index(builder.grid_idx, builder.grid_dim)
        accesses.addresses.append(touched)
        accesses.programs.append(np.full(touched.shape, program, np.uint64))

    def _compare(self) -> None:
        writes = self.writes.joined()
        every = Accesses(*zip(self.reads.joined().T, writes.T, strict=True)).joined()
        addresses, programs = np.unique(every[:, 0], return_counts=True)
        if np.isin(addresses[programs > 1], writes[:, 0]).any():
            self.shared.add(self.kernel)
