"""The label to ignore, of the loss or of a call."""

import pytest
import torch

from helpers.batches import make_batch
from helpers.tolerances import assert_close
from mmseg_rmi import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss


@pytest.mark.parametrize('loss', [AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss])
def test_that_of_the_loss_holds_where_a_call_names_none(loss: type) -> None:
    logits, labels = make_batch(height=40, width=40)
    other = labels.where(labels != 255, 9)
    expected = loss()(logits, labels)
    assert_close(loss(ignore_index=9)(logits, other), expected)
    assert_close(loss()(logits, other, ignore_index=9), expected)
    assert_close(loss(ignore_index=7)(logits, labels, ignore_index=255), expected)


def test_streamed_loss_has_the_label_of_the_loss_too() -> None:
    logits, labels = make_batch(height=40, width=40)
    small = logits[..., ::2, ::2].contiguous()
    other = labels.where(labels != 255, 9)
    found = RMILoss(ignore_index=9).stream(small, other, align_corners=False).total
    assert_close(found, RMILoss().stream(small, labels, align_corners=False).total)


def test_none_ignores_nothing() -> None:
    logits, labels = make_batch(height=40, width=40)
    with pytest.raises(ValueError, match='labels hold 255'):
        RMILoss(ignore_index=None)(logits, labels)
    assert torch.isfinite(RMILoss(ignore_index=None)(logits, labels.clamp(max=2)))
