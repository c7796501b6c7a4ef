"""The blocked loss equals the reference, however its work is split."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import drawn
from helpers.allocations import Allocations, limit_blocks, workspaces
from helpers.batches import block_labels, make_batch, sharp_logits
from helpers.implementations import (
    reference_loss,
    streamed_loss,
    torch_loss,
    value_and_gradient,
)
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.blocked import workspace
from mmseg_rmi.losses import RMILoss

# Half precision rounds the gradient, and nothing else.
VALUE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 1e-4, torch.float16: 1e-4}
GRADIENT = {**VALUE, torch.bfloat16: 2**-7, torch.float16: 2**-10}


def evaluate(objective, batch: drawn.Batch, settings: RMISettings, region_dtype=torch.float64):
    """Value and gradient."""
    return value_and_gradient(
        objective,
        batch.logits,
        batch.labels,
        settings=settings,
        ignore_index=batch.ignore_index,
        pixel_weight=batch.pixel_weight,
        class_weight=batch.class_weight,
        region_dtype=region_dtype,
    )


def assert_equal(measured, expected, value_tolerance: float, gradient_tolerance: float) -> None:
    """Tolerances are relative: to the value, and to the gradient's largest entry."""
    (value, gradient), (expected_value, expected_gradient) = measured, expected
    assert value.dtype == expected_value.dtype
    assert gradient.dtype == expected_gradient.dtype
    floor = 1e-4 * value_tolerance
    assert float(value) == pytest.approx(float(expected_value), rel=value_tolerance, abs=floor)
    error = (gradient.double() - expected_gradient.double()).abs().max()
    finfo = torch.finfo(gradient.dtype)
    rounding = finfo.smallest_normal * finfo.eps + 1e-6 * gradient_tolerance  # of nothing at all
    assert error <= gradient_tolerance * expected_gradient.double().abs().max() + rounding


@pytest.mark.parametrize('dtype', drawn.DTYPES, ids=str)
@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_value_and_gradient_equal_the_reference(dtype, data):
    settings = data.draw(drawn.settings())
    batch = data.draw(drawn.batches(settings, dtype))
    measured = evaluate(torch_loss, batch, settings)
    expected = evaluate(reference_loss, batch, settings)
    assert_equal(measured, expected, VALUE[dtype], GRADIENT[dtype])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_float32_regions_come_close_to_float64(dtype, data):
    settings = data.draw(drawn.settings(ridges=(1e-4, 5e-4, 1.0)))
    batch = data.draw(drawn.batches(settings, dtype))
    measured = evaluate(torch_loss, batch, settings, region_dtype=torch.float32)
    expected = evaluate(reference_loss, batch, settings, region_dtype=torch.float64)
    assert_equal(measured, expected, 1e-4, 1e-2)


@pytest.mark.parametrize('classes', [1, 5, 130])
@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_size_of_the_blocks_changes_nothing(monkeypatch, ignored, classes):
    logits, labels = make_batch(classes=classes)
    batch = drawn.Batch(logits, labels, ignore_index=255, pixel_weight=None)
    settings = RMISettings(ignored=ignored, downsample_factor=2)
    limit_blocks(monkeypatch, 1)
    map_by_map = evaluate(torch_loss, batch, settings)
    limit_blocks(monkeypatch, 1 << 40)
    all_at_once = evaluate(torch_loss, batch, settings)
    assert_equal(map_by_map, all_at_once, 1e-12, 1e-9)


@pytest.mark.parametrize('magnitude', [0, 30, 100])
@pytest.mark.parametrize('classes', [60, 61, 120, 121, 150])
def test_cross_entropy_of_many_undecided_or_wrong_classes(classes, magnitude):
    """Every class of every pixel is wrong by the same logit: softplus(x) each."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.full((1, classes, 8, 8), float(magnitude))
    logits[:, 0] = -magnitude
    value = torch_loss(logits, labels, RMISettings(loss_lambda=1))
    expected = classes * math.log1p(math.exp(magnitude)) * 64 / 65
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_one_image_stored_once_may_stand_for_many():
    """Logits that are expanded have no memory of their own for every image."""
    logits, labels = make_batch(images=3)
    stored = logits[:1].clone().requires_grad_()
    torch_loss(stored.expand(3, -1, -1, -1), labels).backward()
    _, expected = value_and_gradient(reference_loss, logits[:1].repeat(3, 1, 1, 1), labels)
    torch.testing.assert_close(stored.grad, expected.sum(dim=0, keepdim=True))


@pytest.mark.parametrize('downsample', ['avg', 'max'])
def test_perfect_map_scores_one_and_a_constant_one_zero(downsample):
    _, labels = make_batch(images=1, void=False, height=32, width=32)
    settings = RMISettings(downsample=downsample, region_size=2)
    one, zero = torch.tensor([1.0, 0.0], dtype=torch.float64)
    terms = streamed_loss(sharp_logits(labels, 3, 1e3), labels, settings)
    torch.testing.assert_close(terms.score, one)
    terms = streamed_loss(torch.full((1, 3, 32, 32), -1e3).double(), labels, settings)
    torch.testing.assert_close(terms.score, zero)


@pytest.mark.parametrize('settings', [dict(downsample='max'), dict(downsample_factor=1)], ids=str)
def test_class_that_fills_the_image_is_left_out_of_the_score(settings):
    logits, labels = make_batch(images=2, classes=2)
    labels[0] = 0
    settings = RMISettings(**settings)
    expected = streamed_loss(logits[1:], labels[1:], settings).score
    torch.testing.assert_close(streamed_loss(logits, labels, settings).score, expected)


@pytest.mark.parametrize('settings', [dict(), dict(activation='softmax', pixel_term='ce')], ids=str)
def test_images_together_as_on_a_gpu_give_the_same(monkeypatch, settings):
    """On a CPU a chunk is one image: let it be three, and the last one two."""
    logits, labels = make_batch(images=5, classes=4)
    batch = drawn.Batch(logits, labels, 255, None, torch.linspace(0, 1, 4))
    settings = RMISettings(ignored='exclude', **settings)
    expected = evaluate(torch_loss, batch, settings)
    monkeypatch.setattr(workspace, 'split_work', lambda *sizes: (3, 2))
    assert_equal(evaluate(torch_loss, batch, settings), expected, 1e-12, 1e-9)


SIZES = dict(few_large_maps=(2, 5, 257), many_small_maps=(2, 150, 65))


@pytest.mark.parametrize(('images', 'classes', 'side'), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize('downsample', ['avg', 'max', 'interp'])
def test_only_the_gradient_is_as_large_as_the_logits(
    monkeypatch, downsample, images, classes, side
):
    limit_blocks(monkeypatch, 1 << 18)
    logits, labels = random_batch(images, classes, side)
    loss = RMILoss(downsample=downsample)
    with Allocations() as allocations:
        loss(logits, labels).backward()
    gradient, *others = allocations.sizes
    assert gradient == logits.nbytes
    assert others[0] < logits.nbytes / 4


def test_working_memory_is_gone_before_the_backward_pass():
    loss = torch_loss(*random_batch(1, 3, 33))
    assert loss.grad_fn is not None
    assert not workspaces()


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_value_alone_needs_nothing_as_large_as_an_image(monkeypatch, mode):
    limit_blocks(monkeypatch, 1 << 18)
    logits, labels = random_batch(2, 21, 257)
    with mode(), Allocations() as allocations:
        RMILoss()(logits, labels)
    assert allocations.sizes[0] < logits.nbytes / 4


def random_batch(images: int, classes: int, side: int):
    generator = torch.Generator().manual_seed(0)
    labels = block_labels(images, classes, side, side, generator).int()
    logits = torch.randn(images, classes, side, side, generator=generator, requires_grad=True)
    return logits, labels
