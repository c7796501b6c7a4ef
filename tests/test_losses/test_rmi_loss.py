"""RMILoss: what it computes and what MMSegmentation asks of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.registry import MODELS

from helpers import oracle
from helpers.batches import make_batch
from helpers.objectives import OBJECTIVES, precision_of, registered, value_and_gradient
from helpers.tolerances import assert_close
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss

float64 = OBJECTIVES['reference-float64']


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


@given(data=st.data())
def test_value_equals_the_oracle(data):
    ignored = data.draw(st.sampled_from(['zero', 'exclude']), label='ignored')
    methods = ['avg', 'max'] if ignored == 'exclude' else ['avg', 'max', 'interp']
    settings = dict(
        region_size=data.draw(st.integers(1, 5), label='region_size'),
        downsample=data.draw(st.sampled_from(methods), label='downsample'),
        downsample_factor=data.draw(st.integers(1, 6), label='downsample_factor'),
        loss_lambda=data.draw(st.floats(0, 1), label='loss_lambda'),
        covariance=data.draw(st.sampled_from(['sum', 'mean']), label='covariance'),
        ridge=data.draw(st.floats(1e-6, 1), label='ridge'),
        nonnegative=data.draw(st.booleans(), label='nonnegative'),
        ignored=ignored,
    )
    logits, labels = make_batch(
        images=data.draw(st.integers(1, 3), label='images'),
        classes=data.draw(st.integers(1, 4), label='classes'),
        height=data.draw(st.sampled_from([31, 37]), label='height'),
        width=data.draw(st.sampled_from([31, 41]), label='width'),
        void=data.draw(st.booleans(), label='void'),
        seed=data.draw(st.integers(0, 99), label='seed'),
    )
    expected = oracle.objective(logits, labels, **settings)
    assert_close(RMILoss(**settings)(logits, labels), expected, scale=1e2)


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(downsample='max', downsample_factor=3, region_size=2),
        dict(downsample='interp', downsample_factor=2, region_size=2),
        dict(downsample_factor=1, region_size=1),
        dict(ignored='exclude', downsample_factor=2, region_size=2),
        dict(covariance='mean', ridge=1e-6, downsample_factor=2),
        dict(nonnegative=False, loss_lambda=0, downsample_factor=2),
        dict(loss_lambda=1),
    ],
    ids=str,
)
@pytest.mark.parametrize('classes', [1, 3])
@pytest.mark.parametrize('name', ['registered', 'one-pass-float32'])
def test_gradient_equals_that_of_the_reference(name, classes, settings):
    logits, labels = make_batch(images=3, classes=classes)
    labels[1] = 255
    weight = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    expected = value_and_gradient(float64, logits, labels, weight=weight, **settings)
    measured = value_and_gradient(OBJECTIVES[name], logits, labels, weight=weight, **settings)
    for actual, each in zip(measured, expected, strict=True):
        assert_close(actual, each, precision_of(name), scale=10)


@pytest.mark.parametrize('classes', [1, 3])
def test_gradient_equals_that_of_the_reference_for_a_tiny_ridge(classes):
    logits, labels = make_batch(images=1, classes=classes)
    settings = dict(covariance='mean', ridge=1e-12, region_size=2, downsample_factor=2)
    expected = value_and_gradient(float64, logits, labels, **settings)
    for actual, each in zip(
        value_and_gradient(registered, logits, labels, **settings), expected, strict=True
    ):
        assert_close(actual, each, scale=1e3)


@pytest.mark.parametrize('classes', [1, 3])
def test_gradient_equals_finite_differences_of_the_oracle(classes):
    logits, labels = make_batch(images=2, classes=classes, height=17, width=19)
    places = [
        (b, c, i, j)
        for b in (0, 1)
        for c in (0, classes - 1)
        for i in (0, 8, 16)
        for j in (0, 9, 18)
    ]
    settings = dict(downsample_factor=2)
    _, gradient = value_and_gradient(registered, logits, labels, **settings)
    expected = torch.tensor(oracle.gradient(logits, labels, places, **settings))
    measured = torch.stack([gradient[place] for place in places])
    torch.testing.assert_close(measured, expected, rtol=1e-5, atol=1e-8)


def test_incoming_gradient_multiplies_the_gradient():
    logits, labels = make_batch()
    _, once = value_and_gradient(registered, logits, labels)
    _, thrice = value_and_gradient(lambda *batch: 3 * registered(*batch), logits, labels)
    assert_close(thrice, 3 * once)


def test_backward_may_run_twice():
    logits, labels = make_batch()
    logits.requires_grad_()
    loss = registered(logits, labels)
    loss.backward(retain_graph=True)
    once = logits.grad.clone()
    loss.backward()
    assert_close(logits.grad, 2 * once)


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_value_without_gradient_is_the_same(mode):
    logits, labels = make_batch()
    with_gradient = registered(logits.clone().requires_grad_(), labels)
    with mode():
        assert_close(registered(logits, labels), with_gradient)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ('classes', 'side'),
    [(130, 24), (5, 256), (3, 520)],
    ids=[
        'more-classes-than-one-product-holds',
        'several-classes-in-a-block',
        'one-class-in-a-block',
    ],
)
def test_work_in_blocks_changes_nothing(classes, side, dtype):
    logits, labels = make_batch(images=1, classes=classes, height=side, width=side)
    weight = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    expected = value_and_gradient(float64, logits.to(dtype), labels, weight=weight)
    measured = value_and_gradient(registered, logits.to(dtype), labels, weight=weight)
    for actual, each in zip(measured, expected, strict=True):
        assert_close(actual, each, scale=10)


def test_inputs_are_left_as_they_were():
    logits, labels = make_batch()
    before = logits.clone(), labels.clone()
    value_and_gradient(registered, logits.requires_grad_(), labels)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize('settings', [{}, dict(ignored='exclude'), dict(covariance='mean')])
def test_weight_leaves_the_region_term_alone(settings):
    logits, labels = make_batch()
    weight = torch.rand(labels.shape, dtype=torch.float64)
    alone = registered(logits, labels, loss_lambda=0, **settings)
    assert_close(registered(logits, labels, weight=weight, loss_lambda=0, **settings), alone)


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
