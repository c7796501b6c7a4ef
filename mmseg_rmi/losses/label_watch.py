"""A warning for a training that looks perfect because its labels teach nothing."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mmseg_rmi.losses.batch_watch import BatchWatch
from mmseg_rmi.utils.tracing import unwrap

BATCHES = 100


class SingleLabelWatch(BatchWatch):
    """Warn once if the first batches of a training hold a single class, or no label at all.

    Masks of 0 and 255 are the usual cause: 255 is ignored, and a network that predicts 0 everywhere
    makes no error. The counts stay on the device and are read once, after the last of these
    batches.

    Args:
        batches: number of batches to look at.

    Example:
        >>> watch = SingleLabelWatch(batches=1)
        >>> watch.see(torch.tensor([[[0, 1, 255]]]), ignore_index=255)
        >>> watch.batches_left
        0
    """

    def __init__(self, batches: int = BATCHES) -> None:
        super().__init__(batches)
        self._range: Tensor | None = None  # the least label and the greatest, negated
        self._pixels: Tensor | None = None  # ignored and all

    def see(self, labels: Tensor, ignore_index: int) -> None:
        """Look at the labels of a batch, ``B x H x W``, integer."""
        if not self.counts(labels):
            return
        labels = unwrap(labels)
        valid = labels != ignore_index
        top = torch.iinfo(labels.dtype).max
        span = torch.stack([labels.where(valid, top).min(), -labels.where(valid, -1).max()]).long()
        pixels = torch.stack([(~valid).sum(), torch.full_like(span[0], labels.numel())])
        if self._range is not None and self._pixels is not None:
            span = span.minimum(self._range.to(span.device))
            pixels = pixels + self._pixels.to(span.device)
        self._range, self._pixels = span, pixels
        if not self.batches_left:
            self._conclude(ignore_index)

    def _conclude(self, ignore_index: int) -> None:
        if self._range is None or self._pixels is None:
            return
        (least, negated), (ignored, pixels) = self._range.tolist(), self._pixels.tolist()
        self._range = self._pixels = None
        if least < -negated:
            return
        seen = f'The labels of the first {self.batches} batches are all {least}'
        if ignored == pixels:
            seen = f'The first {self.batches} batches have no labels'
        mend = ''
        if ignored:
            seen += f', and {ignored / pixels:.0%} of all pixels are ignored ({ignore_index})'
            mend = (
                f'If the foreground of your masks is {ignore_index}, write it as 1 (label_map, or '
                'the masks themselves). '
            )
        warnings.warn(
            f'{seen}. A constant prediction is then perfect and nothing is learnt. {mend}'
            'tools/check_labels.py lists the labels of a data set.',
            stacklevel=3,
        )
