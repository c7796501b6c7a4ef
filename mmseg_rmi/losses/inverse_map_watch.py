"""A warning for a network of one channel that learns the inverse of the truth."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmseg_rmi.losses.batch_watch import BatchWatch
from mmseg_rmi.utils.tracing import is_transformed

BATCHES = 200
RATIO = 0.85  # of mean probabilities, foreground over background: an untrained map is near 1


class InverseMapWatch(BatchWatch):
    """Warn once if a map of one channel is lower on the foreground than on the background.

    The region term is the same for a map and its inverse, ``p`` and ``1 - p``. A network may learn
    the inverse, which the pixel-wise term then keeps below the threshold, so that everything is
    predicted as background. Looks at the second half of the first batches of a training; sums stay
    on the device and are read once.

    Args:
        batches: number of batches, an even one.

    Example:
        >>> watch = InverseMapWatch(batches=2)
        >>> watch.see(torch.zeros(1, 1, 4, 4), torch.ones(1, 4, 4), ignore_index=255)
        >>> watch.batches_left
        1
    """

    def __init__(self, batches: int = BATCHES) -> None:
        super().__init__(batches)
        self._sums: Tensor | None = None  # probability and pixels: of foreground, of background

    def see(self, logits: Tensor, labels: Tensor, ignore_index: int) -> None:
        """Look at a batch: logits ``B x C x H' x W'``, labels ``B x H x W``."""
        if logits.shape[1] != 1 or is_transformed() or not self.counts(labels):
            return
        if self.batches_left >= self.batches // 2:
            return
        probabilities = logits.detach()[:, 0].float().sigmoid()
        labels = interpolate(labels[:, None].float(), logits.shape[2:], mode='nearest')[:, 0]
        sums = []
        for label in (1, 0):
            pixels = (labels == label) & (labels != ignore_index)
            sums += [probabilities.where(pixels, 0.0).sum(), pixels.sum().float()]
        found = torch.stack(sums)
        self._sums = found if self._sums is None else found + self._sums.to(found.device)
        if not self.batches_left:
            self._conclude()

    def _conclude(self) -> None:
        if self._sums is None:
            return
        inside, foreground, outside, background = self._sums.tolist()
        self._sums = None
        if not foreground or not background:
            return
        inside, outside = inside / foreground, outside / background
        if inside < RATIO * outside:
            warnings.warn(
                f'After {self.batches} batches, the mean probability is {inside:.2f} on the '
                f'foreground and {outside:.2f} on the background: the network seems to learn the '
                'inverse of the labels, which the region term does not tell from them, and will '
                'predict background alone. Train anew, and let the pixel-wise term begin alone: '
                "custom_hooks=[dict(type='RegionTermWarmUpHook', begin=0.1, end=0.3)], or in a "
                'loop of your own loss_lambda=1 for a tenth of the training.',
                stacklevel=3,
            )
