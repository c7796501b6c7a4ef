"""Choose the batches of a training that a watch looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.utils.tracing import has_values, is_compiling


class BatchWatch:
    """Count the batches of a training, up to a number of them.

    Batches without gradients, and those in a compiled graph, are not counted.

    Args:
        batches: number of batches to look at.

    Example:
        >>> watch = BatchWatch(batches=1)
        >>> [watch.counts(torch.zeros(1, 4, 4)) for _ in range(2)]
        [True, False]
    """

    def __init__(self, batches: int) -> None:
        self.batches = self.batches_left = batches

    def counts(self, labels: Tensor) -> bool:
        """Count a batch with these labels, or tell that it is not to be looked at."""
        # Checked first, or a graph would be compiled anew for every value of batches_left.
        if not _may_look(labels):
            return False
        if not self.batches_left or not torch.is_grad_enabled():
            return False
        self.batches_left -= 1
        return True


def _may_look(labels: Tensor) -> bool:
    """Tell whether the labels have values to read, and no graph is being recorded."""
    if is_compiling() or not has_values(labels):
        return False
    return not (labels.device.type == 'cuda' and torch.cuda.is_current_stream_capturing())
