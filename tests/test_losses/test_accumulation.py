"""What accumulated gradients are, part by part of a batch."""

import pytest

from helpers.batches import make_batch
from helpers.tolerances import assert_close
from mmseg_rmi.losses import RMILoss


def accumulated(loss, logits, labels, parts):
    """The mean gradient of the losses of parts, as mmengine accumulates them."""
    logits = logits.detach().clone().requires_grad_()
    for part in range(parts):
        images = slice(part * len(labels) // parts, (part + 1) * len(labels) // parts)
        (loss(logits[images], labels[images]) / parts).backward()
    return logits.grad


@pytest.mark.parametrize('ignored', [0, 20])
def test_the_region_term_accumulates_to_the_gradient_of_the_batch(ignored):
    logits, labels = make_batch(images=4, void=False)
    labels[2:, :ignored] = 255
    loss = RMILoss(loss_lambda=0)
    whole = accumulated(loss, logits, labels, parts=1)
    assert_close(accumulated(loss, logits, labels, parts=2), whole)


@pytest.mark.parametrize(('ignored', 'least', 'most'), [(0, 0, 1e-3), (20, 0.3, 1)])
def test_the_pixel_wise_term_does_so_where_all_parts_have_as_many_valid_pixels(
    ignored, least, most
):
    logits, labels = make_batch(images=4, void=False)
    labels[2:, :ignored] = 255
    loss = RMILoss(loss_lambda=1)
    whole = accumulated(loss, logits, labels, parts=1)
    off = (accumulated(loss, logits, labels, parts=2) - whole).norm() / whole.norm()
    assert least <= off < most
