"""Every implementation against the NumPy oracle and the authors' released code."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import drawn, oracle
from helpers.batches import make_batch
from helpers.implementations import (
    LOSSES,
    precision_of,
    reference_loss,
    registered,
    streamed_loss,
    torch_loss,
    value_and_gradient,
)
from helpers.tolerances import assert_close
from mmseg_rmi.functional import Normalizers, RMISettings
from mmseg_rmi.functional.contract import batch_normalizers, promote
from mmseg_rmi.functional.maps import one_hot

float64 = LOSSES['reference-float64']
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)


@pytest.mark.parametrize('name', LOSSES)
@given(data=st.data())
def test_value_equals_the_oracle(name, data):
    """Any settings, sizes, ignored pixels and absent classes; float32 resolves no tiny ridge."""
    ridges = (1e-4, 5e-4, 1.0) if name.endswith('float32') else (1e-6, 5e-4, 1.0)
    settings = data.draw(drawn.settings(ridges))
    batch = data.draw(drawn.batches(settings, largest=4))
    options = {**vars(settings), 'ignore_index': batch.ignore_index, 'weight': batch.pixel_weight}
    if batch.class_weight is not None:
        options['class_weight'] = batch.class_weight.tolist()
    expected = oracle.objective(batch.logits, batch.labels, **options)
    value = LOSSES[name](batch.logits, batch.labels, **options)
    assert_close(value, expected, precision_of(name), scale=1e2 if settings.ridge < 1e-4 else 3)


@pytest.mark.parametrize('downsample', ['avg', 'max', 'interp'])
@pytest.mark.parametrize('region_size', [1, 3, 5, 10])
def test_large_regions_equal_the_oracle(region_size, downsample):
    settings = dict(region_size=region_size, downsample=downsample, downsample_factor=3)
    logits, labels = make_batch(height=37, width=41)
    expected = oracle.objective(logits, labels, **settings)
    assert_close(registered(logits, labels, **settings), expected)


@pytest.mark.parametrize('ridge', [1e-10, 1e-14])
def test_tiny_ridge_equals_exact_arithmetic(ridge):
    logits, labels = make_batch(images=1, height=19, width=19)
    settings = dict(region_size=2, downsample_factor=2, ridge=ridge)
    expected = oracle.objective(logits, labels, exact=True, **settings)
    assert_close(float64(logits, labels, **settings), expected, scale=1e3)


@pytest.mark.parametrize('ignore_index', [-100, -1, 0, 1, 254])
@pytest.mark.parametrize('classes', [1, 3])
@pytest.mark.parametrize('name', LOSSES)
def test_ignore_index_may_be_any_label(name, classes, ignore_index):
    logits, labels = make_batch(classes=classes)
    labels[labels == 255] = ignore_index
    expected = oracle.objective(logits, labels, ignore_index=ignore_index)
    measured = LOSSES[name](logits, labels, ignore_index=ignore_index)
    assert_close(measured, expected, precision_of(name))


GRADIENT_SETTINGS = {
    'defaults': dict(downsample_factor=3),
    'max': dict(downsample='max', downsample_factor=3, region_size=2),
    'interp': dict(downsample='interp', downsample_factor=3, region_size=2),
    'unpooled': dict(downsample_factor=1, region_size=2),
    'exclude': dict(ignored='exclude', downsample_factor=2, region_size=2),
    'paper': dict(covariance='mean', ridge=1e-6, region_size=2, downsample_factor=2),
    'released': dict(nonnegative=False, downsample_factor=3),
    'regions-alone': dict(loss_lambda=0, downsample_factor=3),
    'pixels-alone': dict(loss_lambda=1),
    'region-1': dict(region_size=1, downsample_factor=2),
    'relative': dict(covariance='relative', ridge=1e-3, region_size=2, downsample_factor=2),
    'class-weights': dict(class_weight=[2.0, 0.0, 0.5], downsample_factor=3),
}
SOFTMAX_SETTINGS = {
    'ce': dict(pixel_term='ce', class_weight=[2.0, 0.0, 0.5], downsample_factor=3),
    'softmax': dict(activation='softmax', region_size=2, downsample_factor=2),
    'softmax-ce': dict(pixel_term='ce', activation='softmax', downsample='max', region_size=2),
}


@pytest.mark.parametrize(
    ('classes', 'name'),
    [
        *itertools.product((1, 3), GRADIENT_SETTINGS),
        *itertools.product((3,), SOFTMAX_SETTINGS),
    ],
)
def test_gradient_equals_finite_differences_of_the_oracle(classes, name):
    settings = settings_of(name, classes)
    logits, labels = make_batch(images=2, classes=classes, height=19, width=17)
    generator = torch.Generator().manual_seed(7)
    sides = torch.tensor(logits.shape)
    places = [
        tuple((torch.rand(4, generator=generator) * sides).long().tolist()) for _ in range(15)
    ]
    places += [(0, 0, 0, 0), (1, classes - 1, 18, 16)]
    _, gradient = value_and_gradient(float64, logits, labels, **settings)
    expected = oracle.gradient(logits, labels, places, **settings)
    measured = torch.stack([gradient[place] for place in places])
    torch.testing.assert_close(measured, torch.tensor(expected), rtol=1e-5, atol=1e-8)
    assert np.abs(expected).max() > 1e-5


def settings_of(name, classes):
    settings = {**GRADIENT_SETTINGS, **SOFTMAX_SETTINGS}[name]
    if 'class_weight' in settings:
        return {**settings, 'class_weight': settings['class_weight'][:classes]}
    return settings


@pytest.mark.parametrize(
    ('classes', 'name'),
    [
        *itertools.product((1, 2), GRADIENT_SETTINGS),
        *itertools.product((2,), SOFTMAX_SETTINGS),
    ],
)
@pytest.mark.parametrize('loss', [registered, float64], ids=['torch', 'reference'])
def test_gradcheck_with_ignored_pixels(loss, classes, name):
    logits, labels = make_batch(images=2, classes=classes, height=9, width=9)
    weight = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)).double()
    settings = {**settings_of(name, classes), 'region_size': 2, 'downsample_factor': 2}
    function = functools.partial(loss, labels=labels, weight=weight, **settings)
    assert torch.autograd.gradcheck(function, logits.requires_grad_(), fast_mode=True)


@pytest.fixture(scope='session', params=range(8))
def released(request, data_root):
    """One case of the released code: logits, labels, settings, total, pixel, region, gradient."""
    folder = data_root / 'reference'
    case = json.loads((folder / 'released_rmi.json').read_text())[request.param]
    arrays = np.load(folder / 'released_rmi.npz')
    logits, labels, gradient = (
        torch.tensor(arrays[f'{case["id"]}/{name}']) for name in ('logits', 'labels', 'grad')
    )
    settings = dict(
        region_size=case['region'],
        downsample=case['pool'],
        downsample_factor=case['downsample'],
        nonnegative=False,
    )
    labels = labels.long().where(labels < case['num_classes'], 255)  # what it holds to be ignored
    return case, logits, labels, settings, gradient


@every_loss
def test_value_and_gradient_are_those_of_the_released_code(released, loss):
    case, logits, labels, settings, expected = released
    value, gradient = value_and_gradient(
        loss, logits, labels, loss_lambda=case['loss_lambda'], **settings
    )
    assert float(value) == pytest.approx(case['total'], abs=1e-5)
    assert (gradient - expected).abs().max() < 1e-4 * expected.abs().max()


@every_loss
@pytest.mark.parametrize(('loss_lambda', 'term'), [(0, 'rmi'), (1, 'bce')])
def test_both_terms_are_those_of_the_released_code(released, loss, loss_lambda, term):
    case, logits, labels, settings, _ = released
    value = loss(logits, labels, loss_lambda=loss_lambda, **settings)
    assert float(value) == pytest.approx(case[term], abs=1e-5)


def test_oracle_agrees_with_the_released_code(released):
    case, logits, labels, settings, _ = released
    value = oracle.objective(logits, labels, loss_lambda=case['loss_lambda'], **settings)
    assert value == pytest.approx(case['total'], abs=1e-6)


def test_region_1_is_the_plain_covariance_of_the_two_maps():
    """-I_l = 1/2 log(var_Y - cov^2 / (var_P + xi) + xi), by numpy.cov."""
    logits, labels = make_batch(images=1, classes=2, void=False)
    settings = dict(region_size=1, downsample_factor=1, loss_lambda=0, covariance='mean')
    expected = 0.0
    for c in range(2):
        y = (labels[0] == c).double().flatten()
        p = logits[0, c].sigmoid().flatten()
        var_y, covariance, _, var_p = np.cov(y, p, bias=True).flatten()
        expected += 0.5 * np.log(var_y - covariance**2 / (var_p + 5e-4) + 5e-4)
    assert_close(float64(logits, labels, nonnegative=False, **settings), expected)


def test_normalizers_divide_the_two_terms():
    logits, labels = make_batch()
    own = batch_normalizers(labels)
    double = Normalizers(2 * own.pixels, 4 * own.images)
    for loss_lambda, factor in [(1, 2), (0, 4)]:
        settings = RMISettings(loss_lambda=loss_lambda)
        whole = reference_loss(logits, labels, settings)
        assert_close(factor * reference_loss(logits, labels, settings, normalizers=double), whole)


def test_normalizers_count_valid_pixels_and_images():
    labels = torch.zeros(3, 5, 7, dtype=torch.long)
    labels[1] = 7
    labels[2, 0, 0] = 255
    assert [int(n) for n in batch_normalizers(labels)] == [3 * 35 - 1 + 1, 3]
    assert [int(n) for n in batch_normalizers(labels, ignore_index=7)] == [2 * 35 + 1, 3]


def test_one_channel_is_the_map_of_label_one():
    labels = torch.tensor([[[0, 1, 255, 1]]])
    assert one_hot(labels, 1).tolist() == [[[[False, True, False, True]]]]
    assert one_hot(labels, 1, ignore_index=1).tolist() == [[[[False] * 4]]]


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_promoted(given, expected):
    assert promote(torch.zeros(1, dtype=given)).dtype == expected


@pytest.mark.parametrize('loss', [torch_loss, reference_loss, streamed_loss])
def test_function_refuses_maps_too_small_for_a_region(loss):
    with pytest.raises(ValueError, match='use crops of at least 8 x 8 or a downsample_factor of'):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))


@pytest.mark.parametrize('loss', [torch_loss, reference_loss])
def test_no_label_of_eight_bits_is_taken_for_an_ignore_index_beyond(loss):
    logits, labels = make_batch(void=False)
    narrow, wide = (loss(logits, each, ignore_index=256) for each in (labels.byte(), labels))
    assert narrow == wide
