"""What a head was trained to give, and its scores as probabilities."""

import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from helpers.crf_oracle import sigmoid, softmax
from mmseg_rmi.test_time.probabilities import (
    average_probabilities,
    find_activation,
    resolve_activation,
    to_distribution,
    to_probabilities,
)

CE, RMI, BCE = (
    dict(type=name) for name in ('CrossEntropyLoss', 'RMILoss', 'SigmoidCrossEntropyLoss')
)


def head(loss_decode, num_classes=3) -> nn.Module:
    settings = dict(type='FCNHead', in_channels=3, channels=3, num_convs=0, concat_input=False)
    return MODELS.build(dict(**settings, num_classes=num_classes, loss_decode=loss_decode))


@pytest.mark.parametrize(
    ('loss_decode', 'activation'),
    [
        (CE, 'softmax'),
        (dict(type='AffinityFieldLoss'), 'softmax'),
        (dict(type='LovaszLoss', reduction='none'), 'softmax'),
        (RMI, 'sigmoid'),
        (BCE, 'sigmoid'),
        (dict(CE, use_sigmoid=True), 'sigmoid'),
        ([dict(RMI, loss_lambda=0.0), BCE], 'sigmoid'),
        ([RMI, dict(type='BoundaryLoss')], 'sigmoid'),
    ],
)
def test_losses_say_what_their_head_gives(loss_decode, activation):
    assert find_activation(head(loss_decode)) == activation


def test_one_channel_is_a_sigmoid_whatever_the_loss():
    loss = dict(type='LovaszLoss', loss_type='binary', reduction='none')
    assert find_activation(head(loss, num_classes=1)) == 'sigmoid'


def test_losses_that_contradict_each_other_need_a_word():
    with pytest.raises(ValueError, match=r'\(CrossEntropyLoss, RMILoss\) use both softmax'):
        find_activation(head([CE, RMI]))


def test_a_head_without_losses_needs_a_word():
    with pytest.raises(ValueError, match='Conv2d has no loss_decode that says what it was'):
        find_activation(nn.Conv2d(1, 2, 1))


def test_a_model_without_a_decode_head_needs_a_word():
    with pytest.raises(ValueError, match=r'Conv2d has no loss_decode .* set activation='):
        resolve_activation(None, nn.Conv2d(1, 2, 1))
    assert resolve_activation('softmax', nn.Conv2d(1, 2, 1)) == 'softmax'


def test_the_last_head_of_a_cascade_decides():
    model = nn.Module()
    model.decode_head = nn.ModuleList([head(CE), head(RMI)])
    wrapped = nn.Module()
    wrapped.module = model
    assert resolve_activation(None, wrapped) == 'sigmoid'


def test_the_word_of_the_user_decides():
    assert resolve_activation('softmax', head(RMI)) == 'softmax'


def test_unknown_activations_are_refused():
    with pytest.raises(
        ValueError, match="activation must be one of 'sigmoid', 'softmax', got 'relu'"
    ):
        resolve_activation('relu', head(RMI))


@pytest.mark.parametrize(('activation', 'function'), [('softmax', softmax), ('sigmoid', sigmoid)])
def test_probabilities_follow_the_activation(activation, function):
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    probabilities = to_probabilities(logits, activation)
    np.testing.assert_allclose(probabilities, function(logits.numpy()), rtol=1e-5)


@pytest.mark.parametrize(('activation', 'function'), [('softmax', softmax), ('sigmoid', sigmoid)])
def test_distributions_keep_the_ratios_of_the_probabilities(activation, function):
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    probabilities = function(logits.numpy())
    expected = probabilities / probabilities.sum(0)
    np.testing.assert_allclose(to_distribution(logits, activation), expected, rtol=1e-5)


def test_a_pixel_that_all_classes_reject_has_a_distribution():
    """The sigmoids of -200 and -201 are 0 in float32; their ratio is e."""
    found = to_distribution(torch.tensor([-200.0, -201.0])[:, None, None], 'sigmoid')
    np.testing.assert_allclose(found.flatten(), [1 / (1 + np.exp(-1)), 1 / (1 + np.e)], rtol=1e-5)


@pytest.mark.parametrize(('activation', 'function'), [('softmax', softmax), ('sigmoid', sigmoid)])
def test_the_average_has_the_mean_of_the_probabilities(activation, function):
    views = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found = to_probabilities(average_probabilities(list(views), activation), activation)
    expected = sum(function(view.numpy()) for view in views) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('logits', [[9, 12], [18, 25], [-19, -22], [-110, -120]])
def test_the_average_of_equal_views_is_the_view(activation, dtype, logits):
    """Sigmoids of 9 and 12 are both 1 in half precision, those of -110 and -120 both 0 in any."""
    view = torch.tensor(logits, dtype=dtype)[:, None, None]
    found = average_probabilities([view, view], activation).flatten()
    assert found.dtype == torch.float32
    shift = view.float().logsumexp(0) - math.log(2) if activation == 'softmax' else 0
    torch.testing.assert_close(found, (view.float() - shift).flatten())


def test_one_channel_holds_probabilities_already():
    foreground = torch.rand(2, 1, 3, 4)
    torch.testing.assert_close(to_probabilities(foreground[0], 'sigmoid'), foreground[0])
    found = average_probabilities(list(foreground), 'sigmoid')
    torch.testing.assert_close(found, foreground.mean(dim=0))
