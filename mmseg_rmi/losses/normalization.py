"""Divisors of the loss, over all processes of a distributed run.

Where nothing can be back-propagated, each process uses its own counts: a validation loss that one
process computes alone, or a loss of detached logits for its log, must not wait for the others.
Divisors are float32, whatever torch's default type is, which may be too narrow for them.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from mmseg_rmi.functional.contract import Normalizers


def global_normalizers(logits: Tensor, labels: Tensor, ignore_index: int) -> Normalizers:
    """Count valid pixels + 1 and images of the global batch, over the number of processes.

    DistributedDataParallel averages gradients; with these divisors the average is the gradient of
    the loss of the global batch, however unevenly valid pixels and images are spread.

    Args:
        logits: of this process.
        labels: ``B x H x W``, integer, of this process.
        ignore_index: label to ignore.
    """
    valid = (labels != ignore_index).sum()
    counts = torch.stack([valid, torch.full_like(valid, len(labels))])
    world_size = _sum_over_processes(counts, logits.requires_grad)
    pixels, images = counts.unbind()
    return Normalizers((pixels + 1).float() / world_size, images.float() / world_size)


def global_divisors(counts: Tensor, trains: bool) -> Tensor:
    """Sum counts over the global batch, at least 1, and divide by the number of processes.

    The sum of a process, divided by them, is its share of the mean over the global batch; it is 0
    where there is nothing to average.

    Args:
        counts: integer, any shape, of this process.
        trains: whether what they divide has a gradient.
    """
    counts = counts.clone()
    world_size = _sum_over_processes(counts, trains)
    return counts.clamp(min=1).float() / world_size


def _sum_over_processes(counts: Tensor, trains: bool) -> int:
    """Sum counts over the processes of a distributed run, in place; return how many there are."""
    started = distributed.is_available() and distributed.is_initialized()
    if not (started and trains and torch.is_grad_enabled()):
        return 1
    distributed.all_reduce(counts)
    return distributed.get_world_size()
