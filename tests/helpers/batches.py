"""Small batches of street-like label maps and of logits that half know them."""

import torch
from torch import Tensor


def make_batch(
    images: int = 2,
    classes: int = 3,
    height: int = 31,
    width: int = 37,
    *,
    seed: int = 0,
    void: bool = True,
    contrast: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Logits ``images x classes x height x width`` (float64) and labels, void ones being 255.

    One class draws the binary map of labels 0 and 1. The void is a block in the upper left of every
    image and a few pixels elsewhere.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = block_labels(images, max(classes, 2), height, width, generator)
    first = 1 if classes == 1 else 0
    truth = labels[:, None] == torch.arange(first, first + classes)[:, None, None]
    noise = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    logits = contrast * (truth.double() - 0.5 + noise)
    if void:
        labels[:, : height // 4, : width // 3] = 255
        labels[0, -1, -1] = 255
    return logits, labels


def block_labels(images: int, classes: int, height: int, width: int, generator) -> Tensor:
    """Label maps of blocks of 5 x 4 pixels."""
    blocks = torch.randint(classes, (images, height // 5 + 1, width // 4 + 1), generator=generator)
    return blocks.repeat_interleave(5, 1).repeat_interleave(4, 2)[:, :height, :width].clone()


def sharp_logits(labels: Tensor, classes: int, magnitude: float) -> Tensor:
    """``+magnitude`` in the class of each pixel and ``-magnitude`` in all others (float64)."""
    truth = labels[:, None] == torch.arange(classes)[:, None, None]
    return magnitude * (2 * truth.double() - 1)
