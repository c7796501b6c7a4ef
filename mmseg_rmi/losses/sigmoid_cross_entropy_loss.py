"""The paper's pixel-wise loss, BCE, as a loss of MMSegmentation."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from torch import Tensor

from mmseg_rmi.functional import RMISettings, rmi_loss
from mmseg_rmi.losses.base import SegmentationLoss
from mmseg_rmi.losses.class_weight import ClassWeight, load_class_weight
from mmseg_rmi.losses.finiteness import propagate_nonfinite
from mmseg_rmi.losses.normalization import global_normalizers

SETTINGS = RMISettings(loss_lambda=1.0)


class SigmoidCrossEntropyLoss(SegmentationLoss):
    """Binary cross entropy, ``sum over classes and valid pixels / (valid pixels + 1)``.

    This is the pixel-wise term of :class:`RMILoss`. But for the + 1, it is C times MMSegmentation's
    ``CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)``; a batch without valid pixels has 0.

    Args:
        class_weight: one factor per class, at least 0: numbers, or a file that holds them, as for
            ``CrossEntropyLoss``.
        ignore_index: label to ignore, unless a call gives another; None ignores nothing.
        loss_weight: factor of the whole loss.
        loss_name: name in the log; must contain ``'loss'``.
        **other_arguments: arguments of another loss, inherited by a config; raise a TypeError.

    Source: "BCE" in tables 1 and 3 of the RMI paper.

    Example:
        >>> import torch
        >>> labels = torch.zeros(1, 1, 1, dtype=torch.long)
        >>> SigmoidCrossEntropyLoss()(torch.zeros(1, 2, 1, 1), labels)  # 2 log 2 / (1 + 1)
        tensor(0.6931)
    """

    use_sigmoid = True  # tells test-time fusion how logits become probabilities
    class_weight: Tensor | None

    def __init__(
        self,
        class_weight: ClassWeight | None = None,
        ignore_index: int | None = 255,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_bce',
        **other_arguments: Any,
    ) -> None:
        super().__init__(ignore_index, loss_weight, loss_name, other_arguments)
        self.register_buffer('class_weight', load_class_weight(class_weight), persistent=False)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | EllipsisType | None = ...,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: ``B x C x H x W``, float16, bfloat16, float32 or float64; C = 1 is a binary map.
            labels: ``B x H x W`` or ``B x 1 x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1)
                or ``ignore_index``.
            weight: ``B x H x W``, factor of each pixel; may require a gradient.
            ignore_index: label to ignore; None ignores nothing; the constructor's by default.
            avg_factor: None; the loss is normalised by its own pixels.
            reduction_override: None or ``'mean'``.

        Returns:
            Scalar in nats, float32 (float64 for float64 logits); not finite if a logit is not, or
            if a sum of them overflows, as that of cross entropy.

        Raises:
            ValueError: shapes, devices, labels or reduction that do not fit.
            TypeError: logits that are not floating point, labels that are not integer.
        """
        labels, ignore_index = self.check_call(
            logits, labels, weight, ignore_index, avg_factor, reduction_override
        )
        loss = rmi_loss(
            logits,
            labels,
            SETTINGS,
            ignore_index=ignore_index,
            pixel_weight=weight,
            class_weight=self.class_weight,
            normalizers=global_normalizers(logits, labels, ignore_index),
        )
        return propagate_nonfinite(self.loss_weight * loss)
