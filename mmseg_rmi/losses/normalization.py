"""Divisors of the loss, over all processes of a distributed run.

Without gradients, each process uses its own counts: a validation loss that one process computes
alone must not wait for the others.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from mmseg_rmi.functional.contract import Normalizers


def global_normalizers(labels: Tensor, ignore_index: int) -> Normalizers:
    """Count valid pixels + 1 and images of the global batch, over the number of processes.

    DistributedDataParallel averages gradients; with these divisors the average is the gradient of
    the loss of the global batch, however unevenly valid pixels and images are spread.

    Args:
        labels: ``B x H x W``, integer, of this process.
        ignore_index: label to ignore.
    """
    valid = (labels != ignore_index).sum()
    counts = torch.stack([valid, torch.full_like(valid, len(labels))])
    world_size = _sum_over_processes(counts)
    pixels, images = counts.unbind()
    return Normalizers((pixels + 1) / world_size, images / world_size)


def global_divisors(counts: Tensor) -> Tensor:
    """Sum counts over the global batch, at least 1, and divide by the number of processes.

    The sum of a process, divided by them, is its share of the mean over the global batch; it is 0
    where there is nothing to average.

    Args:
        counts: integer, any shape, of this process.
    """
    counts = counts.clone()
    world_size = _sum_over_processes(counts)
    return counts.clamp(min=1) / world_size


def _sum_over_processes(counts: Tensor) -> int:
    """Sum counts over the processes of a distributed run, in place; return how many there are."""
    started = distributed.is_available() and distributed.is_initialized()
    if not (started and torch.is_grad_enabled()):
        return 1
    distributed.all_reduce(counts)
    return distributed.get_world_size()
