"""One-hot maps of labels, and the number of correct predictions."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(labels: Tensor, channels: int, ignore_index: int | None = None) -> Tensor:
    """Return one boolean map per class, false where ignored; one channel is the map of label 1.

    Args:
        labels: ``B x H x W``, integer.
        channels: C.
        ignore_index: label of pixels that do not count; None for none.

    Returns:
        ``B x C x H x W``, boolean.

    Example:
        >>> one_hot(torch.tensor([[[0, 1, 255]]]), 2).int()[0, :, 0]
        tensor([[1, 0, 0],
                [0, 1, 0]], dtype=torch.int32)
    """
    first = 1 if channels == 1 else 0
    classes = torch.arange(first, first + channels, device=labels.device).reshape(-1, 1, 1)
    labels = labels.unsqueeze(1)
    maps = labels == classes
    return maps if ignore_index is None else maps & (labels != ignore_index)


def count_correct(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Count the valid pixels whose greatest logit is their label's.

    Args:
        logits: ``B x C x H x W``; for one channel, a positive one predicts label 1.
        labels: ``B x H x W``, integer.
        ignore_index: label of pixels that do not count.

    Returns:
        Scalar, int64.

    Example:
        >>> count_correct(torch.tensor([[[[2.0, -1.0, 3.0]]]]), torch.tensor([[[1, 0, 0]]]), 255)
        tensor(2)
    """
    if logits.shape[1] == 1:
        prediction = (logits[:, 0] > 0).to(labels.dtype)
    else:
        prediction = logits.argmax(dim=1)
    return ((prediction == labels) & (labels != ignore_index)).sum()
