"""The part of MMSegmentation's contract that all losses of this package keep alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any

from torch import Tensor, nn

from mmseg_rmi.losses.label_watch import SingleLabelWatch
from mmseg_rmi.losses.validation import (
    check_inputs,
    check_loss_constants,
    refuse_other_arguments,
)
from mmseg_rmi.utils.labels import resolve_ignore_index, squeeze_labels, widen_labels


class SegmentationLoss(nn.Module):
    """A loss with the arguments and attributes that decode heads and MMEngine ask for.

    Args:
        ignore_index: label to ignore, unless a call gives another; None ignores nothing.
        loss_weight: factor of the whole loss.
        loss_name: name in the log; must contain ``'loss'``.
        other_arguments: arguments of another loss, inherited by a config; raise a TypeError.
    """

    def __init__(
        self,
        ignore_index: int | None,
        loss_weight: float,
        loss_name: str,
        other_arguments: Mapping[str, Any],
    ) -> None:
        super().__init__()
        refuse_other_arguments(self, other_arguments)
        check_loss_constants(loss_weight, loss_name)
        self.ignore_index = ignore_index
        self.loss_weight = loss_weight
        self._loss_name = loss_name
        self.label_watch = SingleLabelWatch()

    @property
    def loss_name(self) -> str:
        """Name of the loss in MMEngine's log."""
        return self._loss_name

    def check_call(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        ignore_index: int | EllipsisType | None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        *,
        same_size: bool = True,
    ) -> tuple[Tensor, int]:
        """Check the arguments of a call.

        Args:
            logits: ``B x C x H x W``.
            labels: ``B x H x W`` or ``B x 1 x H x W``.
            weight: ``B x H x W``.
            ignore_index: label to ignore; the constructor's if ``...``.
            avg_factor: as the two that follow, see :func:`.validation.check_inputs`.
            reduction_override: of the call.
            same_size: of logits and labels.

        Returns:
            Labels, ``B x H x W``, int32 or int64, and the label to ignore.

        Raises:
            ValueError: as :func:`.validation.check_inputs`.
            TypeError: as :func:`.validation.check_inputs`.
        """
        ignore_index = self.ignore_index if ignore_index is ... else ignore_index
        labels = squeeze_labels(labels)
        check_inputs(
            logits,
            labels,
            weight,
            ignore_index,
            avg_factor,
            reduction_override,
            same_size=same_size,
            streamed=f'{type(self).__name__}.stream' if hasattr(self, 'stream') else None,
        )
        labels, ignore_index = widen_labels(labels), resolve_ignore_index(ignore_index)
        self.label_watch.see(labels, ignore_index)
        return labels, ignore_index
