"""RMILoss: what it computes and what MMSegmentation asks of it."""

import pytest
import torch
from mmseg.registry import MODELS

from helpers.batches import make_batch
from helpers.implementations import LOSSES, registered
from helpers.tolerances import assert_close
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss

float64 = LOSSES['reference-float64']


def test_is_built_from_a_config():
    assert type(MODELS.build(dict(type='RMILoss'))) is RMILoss
    bce = MODELS.build(dict(type='SigmoidCrossEntropyLoss'))
    assert type(bce) is SigmoidCrossEntropyLoss


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss])
def test_loss_name_is_what_the_config_says(loss):
    assert loss(loss_name='loss_of_main_head').loss_name == 'loss_of_main_head'


def test_losses_of_one_head_have_different_names():
    assert RMILoss().loss_name == 'loss_rmi'
    assert SigmoidCrossEntropyLoss().loss_name == 'loss_bce'


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss])
def test_loss_weight_scales_the_whole(loss):
    logits, labels = make_batch()
    assert_close(loss(loss_weight=0.4)(logits, labels), 0.4 * loss()(logits, labels))


def test_printed_model_shows_the_settings():
    text = repr(RMILoss(region_size=5, ridge=1e-6, loss_weight=0.4))
    assert 'region_size=5' in text
    assert 'ridge=1e-06' in text
    assert 'loss_weight=0.4' in text


def test_has_no_parameters_or_state():
    assert not list(RMILoss().parameters())
    assert not RMILoss().state_dict()
    assert not SigmoidCrossEntropyLoss(class_weight=[1.0, 2.0]).state_dict()


@pytest.mark.parametrize('settings', [{}, dict(ignored='exclude'), dict(covariance='mean')])
def test_weight_leaves_the_region_term_alone(settings):
    logits, labels = make_batch()
    weight = torch.rand(labels.shape, dtype=torch.float64)
    alone = registered(logits, labels, loss_lambda=0, **settings)
    assert_close(registered(logits, labels, weight=weight, loss_lambda=0, **settings), alone)


def test_class_weight_multiplies_the_pixel_term_of_each_class():
    """At logit 0, two channels cost log 2 each at every one of three valid pixels."""
    labels, logits = torch.tensor([[[0, 1, 1, 255]]]), torch.zeros(1, 2, 1, 4)
    weighted = dict(class_weight=[0.5, 3.0])
    assert_close(SigmoidCrossEntropyLoss(**weighted)(logits, labels), 3 * 3.5 * 0.6931472 / 4)
    assert_close(RMILoss(loss_lambda=1, **weighted)(logits, labels), 3 * 3.5 * 0.6931472 / 4)
    softmax = RMILoss(loss_lambda=1, pixel_term='ce', **weighted)
    assert_close(softmax(logits, labels), (0.5 + 3 + 3) * 0.6931472 / 4)


def test_softmax_cross_entropy_is_that_of_torch():
    logits, labels = make_batch()
    valid = (labels != 255).sum()
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
    loss = RMILoss(loss_lambda=1, pixel_term='ce')
    assert_close(loss(logits, labels) * (valid + 1) / valid, expected)


@pytest.mark.parametrize('settings', [dict(pixel_term='ce'), dict(activation='softmax')], ids=str)
def test_softmax_of_one_channel_is_refused(settings):
    logits, labels = make_batch(classes=1)
    with pytest.raises(ValueError, match='takes the softmax over at least 2 channels, got 1'):
        RMILoss(**settings)(logits, labels)


def test_triton_on_a_cpu_is_refused_with_the_reason():
    logits, labels = make_batch()
    with pytest.raises(ValueError, match=r"impl='triton' cannot compute this: .*CUDA"):
        RMILoss(impl='triton')(logits.float(), labels)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(), True),
        (dict(pixel_term='ce'), False),
        (dict(loss_lambda=0, activation='softmax'), False),
        (dict(loss_lambda=0, pixel_term='ce'), True),
    ],
    ids=str,
)
def test_fusion_learns_what_the_probabilities_are(settings, expected):
    assert RMILoss(**settings).use_sigmoid is expected


def test_weight_multiplies_the_pixel_term_of_each_pixel():
    """Three pixels of two channels at logit 0 cost 2 log 2 each; the sum is divided by 3 + 1."""
    labels = torch.tensor([[[0, 1, 1, 255]]])
    weight = torch.tensor([[[1.0, 0.5, 0.0, 9.0]]])
    logits = torch.zeros(1, 2, 1, 4)
    expected = (1 + 0.5 + 0) * 2 * 0.6931472 / 4
    assert_close(RMILoss(loss_lambda=1)(logits, labels, weight=weight), expected)
    assert_close(SigmoidCrossEntropyLoss()(logits, labels, weight=weight), expected)


@pytest.mark.parametrize('loss', [RMILoss(loss_lambda=1), SigmoidCrossEntropyLoss()])
def test_narrow_labels_compare_by_value(loss):
    """In uint8, 300 classes would be 44 and an ignore_index of -56 would be label 200."""
    logits = torch.zeros(1, 300, 4, 4)
    labels = torch.full((1, 4, 4), 200)
    expected = 300 * 0.6931472 * 16 / 17
    assert_close(loss(logits, labels.to(torch.uint8), ignore_index=-56), expected)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_every_integer_label_type_gives_the_same_loss(dtype):
    logits, labels = make_batch()
    expected = registered(logits, labels)
    labels[labels == 255] = 100
    assert_close(registered(logits, labels.to(dtype), ignore_index=100), expected)
