"""The sum over classes of the softplus of logits, block by block.

Shapes: ``N`` images, ``k`` classes in a block, ``H x W`` pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.functional.contract import zero_if_finite

# Products of this many factors in [1, 2], and their inverses, are normal numbers in float32.
LARGEST_PRODUCT = 60


class SoftplusSum:
    """Sums ``softplus(x_c)`` over classes by way of the sigmoids that are needed anyway.

    ``softplus(x) = max(x, 0) - log max(p, 1 - p)``, and the logarithm is taken of products.

    Args:
        scratch: ``N x k x H x W``, memory for a block of maps.

    Example:
        >>> softplus_sum = SoftplusSum(torch.empty(1, 2, 1, 1))
        >>> softplus_sum.add(torch.zeros(1, 2, 1, 1), None).flatten()
        tensor([0.5000, 0.5000])
        >>> softplus_sum.pop_sum().item()  # 2 log 2
        1.3862943649291992
    """

    def __init__(self, scratch: Tensor) -> None:
        self.scratch = scratch
        self.total = torch.zeros_like(scratch[:, :1])
        self.product = torch.ones_like(self.total)
        self.factors = 0

    def add(self, logits: Tensor, out: Tensor | None, class_weight: Tensor | None = None) -> Tensor:
        """Add a block of maps; return their sigmoids, in ``out`` if it is given.

        Args:
            logits: ``n x k x H x W``, n at most N.
            out: likewise.
            class_weight: ``k x 1 x 1``, scales each class.
        """
        number, classes = logits.shape[:2]
        scratch, total = self.scratch[:number, :classes], self.total[:number]
        positive = torch.clamp(logits, min=0, out=scratch)
        if class_weight is not None:
            positive.mul_(class_weight)
        for part in positive.split(1, dim=1):
            total += part
        total += zero_if_finite(logits)
        probability = torch.sigmoid(logits, out=out)
        margin = torch.sub(probability, 0.5, out=scratch).abs_()  # max(p, 1 - p) = 1/2 + margin
        if class_weight is not None:
            for part in margin.add_(0.5).log_().mul_(class_weight).split(1, dim=1):
                total -= part
            return probability
        if self.factors + classes > LARGEST_PRODUCT:
            self._take_logarithm()
        product = self.product[:number]
        for part in margin.split(1, dim=1):
            product.addcmul_(product, part, value=2)
        self.factors += classes
        return probability

    def pop_sum(self) -> Tensor:
        """Return the sum since the last time, ``N x 1 x H x W``, and begin anew."""
        self._take_logarithm()
        total = self.total.clone()
        self.total.zero_()
        return total

    def _take_logarithm(self) -> None:
        self.total -= self.product.mul_(0.5**self.factors).log_()
        self.product.fill_(1)
        self.factors = 0
