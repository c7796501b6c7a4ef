"""The paper's BCE, and how it relates to the framework's."""

import pytest
import torch
from mmseg.models.losses import CrossEntropyLoss

from helpers.batches import make_batch
from helpers.implementations import value_and_gradient
from helpers.tolerances import assert_close
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('classes', [1, 3])
def test_is_the_rmi_loss_at_lambda_1(classes, weighted):
    logits, labels = make_batch(classes=classes)
    weight = torch.rand(labels.shape) if weighted else None
    pixel = value_and_gradient(SigmoidCrossEntropyLoss(), logits, labels, weight=weight)
    rmi = value_and_gradient(RMILoss(loss_lambda=1), logits, labels, weight=weight)
    for actual, expected in zip(pixel, rmi, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize('classes', [1, 3, 7])
def test_is_c_times_that_of_mmsegmentation_but_for_one_pixel(classes):
    """Theirs is the sum over C x valid, ours over valid + 1."""
    logits, labels = make_batch(classes=classes)
    theirs = CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)
    expected = value_and_gradient(theirs, logits, labels, ignore_index=255)
    valid = int((labels != 255).sum())
    measured = value_and_gradient(SigmoidCrossEntropyLoss(), logits, labels)
    for actual, each in zip(measured, expected, strict=True):
        assert_close(actual, classes * valid / (valid + 1) * each, torch.float32)


def test_value_of_two_pixels_by_hand():
    """sigmoid(log 3) = 3/4: the right class costs log 4/3, a wrong one log 4."""
    x = 1.0986123
    logits = torch.tensor([[[[x, x, 99.0]], [[-x, -x, 99.0]]]])
    labels = torch.tensor([[[0, 1, 255]]])
    expected = (2 * 0.2876821 + 2 * 1.3862944) / (2 + 1)
    assert_close(SigmoidCrossEntropyLoss()(logits, labels), expected)


def test_gradient_of_a_pixel_by_hand():
    """p - y over valid + 1."""
    logits = torch.zeros(1, 2, 1, 2)
    labels = torch.tensor([[[1, 255]]])
    _, gradient = value_and_gradient(SigmoidCrossEntropyLoss(), logits, labels)
    assert gradient.tolist() == [[[[0.25, 0]], [[-0.25, 0]]]]


def test_class_weight_multiplies_the_channels():
    """At logit 0 each pixel costs log 2 in each channel."""
    loss = SigmoidCrossEntropyLoss(class_weight=[0.5, 2, 0])
    labels = torch.tensor([[[0, 1, 2, 255]]])
    value, gradient = value_and_gradient(loss, torch.zeros(1, 3, 1, 4), labels)
    assert_close(value, 3 * (0.5 + 2 + 0) * 0.6931472 / 4)
    assert_close(gradient[0, 1, 0], [2 / 8, -2 / 8, 2 / 8, 0])
    assert (gradient[:, 2] == 0).all()


def test_class_and_pixel_weights_multiply():
    loss = SigmoidCrossEntropyLoss(class_weight=[0.5, 2.0])
    weight = torch.tensor([[[3.0, 0.0]]])
    value = loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]), weight=weight)
    assert_close(value, 3 * (0.5 + 2) * 0.6931472 / 3)


def test_weight_of_pixels_has_a_gradient():
    """The loss is linear in it."""
    logits, labels = make_batch()
    weight = torch.rand(labels.shape, dtype=torch.float64, requires_grad=True)
    value = SigmoidCrossEntropyLoss()(logits.requires_grad_(), labels, weight=weight)
    value.backward()
    assert_close((weight.grad * weight).sum(), value)
    assert logits.grad.abs().sum() > 0


def test_class_weight_moves_with_the_module():
    assert SigmoidCrossEntropyLoss(class_weight=[1.0, 2.0]).to('meta').class_weight.is_meta


def test_batch_without_a_valid_pixel_is_zero():
    logits, labels = make_batch()
    labels[:] = 255
    loss, gradient = value_and_gradient(SigmoidCrossEntropyLoss(), logits, labels)
    assert loss == 0
    assert (gradient == 0).all()
