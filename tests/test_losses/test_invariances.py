"""What the objective must not depend on, and what must not depend on it."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.batches import make_batch, sharp_logits
from helpers.implementations import LOSSES, precision_of, value_and_gradient
from helpers.tolerances import assert_close
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.contract import batch_normalizers

SETTINGS = {
    'defaults': dict(),
    'paper': dict(covariance='mean', ridge=1e-6),
    'max': dict(downsample='max', region_size=2),
    'interp': dict(downsample='interp', downsample_factor=3, region_size=2),
    'exclude': dict(ignored='exclude', downsample_factor=2, region_size=2),
    'released': dict(nonnegative=False),
}


@pytest.fixture(params=LOSSES)
def objective_name(request):
    return request.param


@pytest.fixture
def objective(objective_name):
    return LOSSES[objective_name]


@pytest.fixture
def close(objective_name):
    """Comparison of values that differ by roundings of the region stage."""
    return functools.partial(assert_close, dtype=precision_of(objective_name), scale=10)


@pytest.fixture(params=SETTINGS)
def settings(request):
    return SETTINGS[request.param]


def test_permuted_classes_give_the_same_loss_and_the_permuted_gradient(objective, settings, close):
    logits, labels = make_batch(classes=4)
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    order = torch.tensor([2, 0, 3, 1])  # class order[k] becomes class k
    relabel = torch.full((256,), 255)
    relabel[order] = torch.arange(4)
    permuted = value_and_gradient(objective, logits[:, order], relabel[labels], **settings)
    close(permuted[0], loss)
    close(permuted[1], gradient[:, order])


def test_transposed_images_give_the_same_loss_and_the_transposed_gradient(
    objective, settings, close
):
    logits, labels = make_batch()
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    transposed = value_and_gradient(objective, logits.mT, labels.mT, **settings)
    close(transposed[0], loss)
    close(transposed[1], gradient.mT)


def test_region_term_is_the_mean_over_images(objective, settings, close):
    logits, labels = make_batch(images=3)
    settings = dict(settings, loss_lambda=0)
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    singles = [
        value_and_gradient(objective, logits[[b]], labels[[b]], **settings) for b in range(3)
    ]
    close(loss, sum(value for value, _ in singles) / 3)
    close(gradient, torch.cat([each for _, each in singles]) / 3)


def test_pixel_term_is_a_sum_over_images(objective, close):
    logits, labels = make_batch(images=3)
    divisors = [batch_normalizers(labels[[b]]).pixels for b in range(3)]
    singles = [objective(logits[[b]], labels[[b]], loss_lambda=1) for b in range(3)]
    expected = sum(n * value for n, value in zip(divisors, singles, strict=True)) / (
        sum(divisors) - 2
    )
    close(objective(logits, labels, loss_lambda=1), expected)


@pytest.mark.parametrize('loss_lambda', [0, 0.25, 1])
def test_lambda_blends_the_two_terms(objective, settings, close, loss_lambda):
    logits, labels = make_batch()
    pixel, region = (objective(logits, labels, **settings, loss_lambda=each) for each in (1, 0))
    blend = objective(logits, labels, **settings, loss_lambda=loss_lambda)
    close(blend, loss_lambda * pixel + (1 - loss_lambda) * region)


def test_nonnegative_adds_a_constant_and_leaves_the_gradient(objective, close):
    """3 classes of an image with valid pixels, each lifted by -1/2 log(xi), at weight 1/2."""
    logits, labels = make_batch(images=4)
    labels[2] = 255
    signed, signed_gradient = value_and_gradient(objective, logits, labels, nonnegative=False)
    value, gradient = value_and_gradient(objective, logits, labels, nonnegative=True)
    close(value - signed, 0.5 * 3 * 3.8004512298 * 3 / 4)
    close(gradient, signed_gradient)


@given(
    seed=st.integers(0, 999),
    contrast=st.sampled_from([1e-3, 1.0, 10.0, 1e3]),
    settings=st.sampled_from(sorted(set(SETTINGS) - {'released'})),
    loss_lambda=st.sampled_from([0.0, 0.5, 1.0]),
    perfect=st.booleans(),
)
@pytest.mark.parametrize('objective', LOSSES.values(), ids=LOSSES)
def test_loss_is_never_negative(objective, seed, contrast, settings, loss_lambda, perfect):
    logits, labels = make_batch(seed=seed, contrast=contrast)
    if perfect:
        logits = sharp_logits(labels, 3, contrast)
    assert objective(logits, labels, **SETTINGS[settings], loss_lambda=loss_lambda) >= 0


def test_absent_class_contributes_nothing(objective, settings, close):
    logits, labels = make_batch(classes=4)
    labels[labels == 2] = 1
    labels[0][labels[0] == 3] = 0  # absent from the first image alone
    settings = dict(settings, loss_lambda=0, nonnegative=True)
    present = [[0, 1], [0, 1, 3]]
    _, gradient = value_and_gradient(objective, logits, labels, **settings)
    for image, classes in enumerate(present):
        absent = [c for c in range(4) if c not in classes]
        assert (gradient[image, absent] == 0).all()
        assert (gradient[image, classes] != 0).any(dim=(1, 2)).all()
    without_two = logits[:, [0, 1, 3]]
    relabelled = torch.where(labels == 3, 2, labels)
    whole = objective(logits, labels, **settings)
    close(whole, objective(without_two, relabelled, **settings))


@pytest.mark.parametrize('nonnegative', [True, False])
def test_absent_class_contributes_exactly_its_constant(objective, close, nonnegative):
    logits, labels = make_batch(classes=1)
    labels[labels == 1] = 0
    loss, gradient = value_and_gradient(
        objective, logits, labels, loss_lambda=0, nonnegative=nonnegative
    )
    close(loss, 0.0 if nonnegative else RMISettings().floor)
    assert (loss == 0) == nonnegative
    assert (gradient == 0).all()


@pytest.mark.parametrize('nonnegative', [True, False])
@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_batch_without_a_valid_pixel_contributes_nothing(objective, ignored, nonnegative):
    logits, labels = make_batch()
    labels[:] = 255
    loss, gradient = value_and_gradient(
        objective, logits, labels, ignored=ignored, nonnegative=nonnegative
    )
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize('nonnegative', [True, False])
@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_image_without_a_valid_pixel_contributes_nothing(objective, close, ignored, nonnegative):
    settings = dict(ignored=ignored, nonnegative=nonnegative, downsample_factor=2, loss_lambda=0)
    logits, labels = make_batch(images=2)
    labels[1] = 255
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    close(loss, objective(logits[:1], labels[:1], **settings) / 2)
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize('nonnegative', [True, False])
@pytest.mark.parametrize('rows', [2, 3])
def test_image_without_two_regions_that_count_contributes_nothing(objective, rows, nonnegative):
    """Regions of 3 x 3 pixels: none fits into 2 rows of 3 valid pixels, one into 3, two into 4."""
    settings = dict(
        region_size=3,
        downsample_factor=1,
        ignored='exclude',
        loss_lambda=0,
        nonnegative=nonnegative,
    )
    logits, _ = make_batch(images=1, height=6, width=6)
    labels = torch.full((1, 6, 6), 255)
    labels[:, 1 : 1 + rows, 1:4] = torch.arange(rows)[:, None] % 2
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    assert loss == 0
    assert (gradient == 0).all()
    labels[:, 1:5, 1:4] = torch.arange(4)[:, None] % 2
    assert objective(logits, labels, **settings) != 0


@pytest.mark.parametrize('nonnegative', [True, False])
def test_map_of_a_single_region_contributes_nothing(objective, nonnegative):
    logits, labels = make_batch(images=1, height=3, width=3, void=False)
    loss, gradient = value_and_gradient(
        objective, logits, labels, loss_lambda=0, downsample_factor=1, nonnegative=nonnegative
    )
    assert loss == 0
    assert (gradient == 0).all()


def test_logits_of_ignored_pixels_do_not_matter(objective, settings):
    logits, labels = make_batch()
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    ignored = (labels == 255)[:, None].expand_as(logits)
    other = torch.where(ignored, -3 * logits + 1, logits)
    other_loss, other_gradient = value_and_gradient(objective, other, labels, **settings)
    assert torch.equal(other_loss, loss)
    assert torch.equal(other_gradient, gradient)
    assert (gradient[ignored] == 0).all()


def test_excluding_a_margin_is_cropping_it_away(objective, close):
    settings = dict(ignored='exclude', downsample_factor=1, loss_lambda=0)
    logits, labels = make_batch(void=False)
    cropped = objective(logits[..., 3:, :-4], labels[..., 3:, :-4], **settings)
    labels[:, :3], labels[:, :, -4:] = 255, 255
    close(objective(logits, labels, **settings), cropped)


def test_excluding_silences_the_cell_of_an_ignored_pixel(objective):
    logits, labels = make_batch(images=1, classes=2, height=24, width=24, void=False)
    labels[0, 9, 9] = 255  # cells of 4 x 4 start at -2, hence the third spans 6 to 9
    settings = dict(ignored='exclude', region_size=2, loss_lambda=0)
    _, gradient = value_and_gradient(objective, logits, labels, **settings)
    silent = torch.zeros(24, 24, dtype=torch.bool)
    silent[6:10, 6:10] = True
    assert torch.equal((gradient == 0).all(dim=1)[0], silent)


def test_zeroing_takes_ignored_pixels_for_background(objective, close):
    """'zero': an ignored pixel is one of probability 0 that belongs to no class."""
    logits, labels = make_batch(classes=1)
    settings = dict(loss_lambda=0, ignored='zero')
    background = torch.where((labels == 255)[:, None], -1e4, logits)
    expected = objective(background, torch.where(labels == 255, 0, labels), **settings)
    close(objective(logits, labels, **settings), expected)


def test_without_ignored_pixels_both_ways_agree(objective, close):
    logits, labels = make_batch(void=False)
    zeroed = objective(logits, labels, ignored='zero')
    close(zeroed, objective(logits, labels, ignored='exclude'))


def test_one_channel_is_the_foreground_of_two(objective, close):
    logits, labels = make_batch(classes=1)
    settings = dict(loss_lambda=0)
    foreground = objective(logits, labels, **settings)
    background = objective(logits, torch.where(labels == 255, 255, 1 - labels), **settings)
    pair = torch.cat([logits, logits], dim=1)
    close(objective(pair, labels, **settings), foreground + background)


def test_gradient_step_lowers_the_loss(objective, settings):
    logits, labels = make_batch()
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    assert objective(logits - 0.1 * gradient / gradient.norm(), labels, **settings) < loss


def test_better_maps_have_lower_loss(objective):
    _, labels = make_batch()
    losses = [objective(sharp_logits(labels, 3, m), labels) for m in (-4, 0, 1, 2, 4, 8)]
    assert losses[1:] == sorted(losses[1:], reverse=True)
    assert losses[0] > losses[1]
