"""The objective in one visit equals the readable one, however its work is split."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import drawn
from helpers.allocations import Allocations, limit_blocks, visitors
from helpers.batches import block_labels, make_batch, sharp_logits
from helpers.objectives import value_and_gradient
from helpers.scores import region_scores
from mmseg_rmi.functional import (
    RMISettings,
    batch_normalizers,
    one_pass_objective,
    rmi_objective,
)
from mmseg_rmi.functional.one_pass import ImageVisitor
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
    measured = evaluate(one_pass_objective, batch, settings)
    expected = evaluate(rmi_objective, batch, settings)
    assert_equal(measured, expected, VALUE[dtype], GRADIENT[dtype])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_float32_regions_come_close_to_float64(dtype, data):
    settings = data.draw(drawn.settings(ridges=(1e-4, 5e-4, 1.0)))
    batch = data.draw(drawn.batches(settings, dtype))
    measured = evaluate(one_pass_objective, batch, settings, region_dtype=torch.float32)
    expected = evaluate(rmi_objective, batch, settings, region_dtype=torch.float64)
    assert_equal(measured, expected, 1e-4, 1e-2)


@pytest.mark.parametrize('classes', [1, 5, 130])
@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_size_of_the_blocks_changes_nothing(monkeypatch, ignored, classes):
    logits, labels = make_batch(classes=classes)
    batch = drawn.Batch(logits, labels, ignore_index=255, pixel_weight=None)
    settings = RMISettings(ignored=ignored, downsample_factor=2)
    limit_blocks(monkeypatch, 1)
    map_by_map = evaluate(one_pass_objective, batch, settings)
    limit_blocks(monkeypatch, 1 << 40)
    all_at_once = evaluate(one_pass_objective, batch, settings)
    assert_equal(map_by_map, all_at_once, 1e-12, 1e-9)


@pytest.mark.parametrize('magnitude', [0, 30, 100])
@pytest.mark.parametrize('classes', [60, 61, 120, 121, 150])
def test_cross_entropy_of_many_undecided_or_wrong_classes(classes, magnitude):
    """Every class of every pixel is wrong by the same logit: softplus(x) each."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.full((1, classes, 8, 8), float(magnitude))
    logits[:, 0] = -magnitude
    value = one_pass_objective(logits, labels, RMISettings(loss_lambda=1))
    expected = classes * math.log1p(math.exp(magnitude)) * 64 / 65
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_one_image_stored_once_may_stand_for_many():
    """Logits that are expanded have no memory of their own for every image."""
    logits, labels = make_batch(images=3)
    stored = logits[:1].clone().requires_grad_()
    one_pass_objective(stored.expand(3, -1, -1, -1), labels).backward()
    _, expected = value_and_gradient(rmi_objective, logits[:1].repeat(3, 1, 1, 1), labels)
    torch.testing.assert_close(stored.grad, expected.sum(dim=0, keepdim=True))


@pytest.mark.parametrize('downsample', ['avg', 'max', 'interp'])
def test_scores_are_those_of_the_readable_points(downsample):
    logits, labels = make_batch(images=1, classes=5)
    labels[labels == 3] = 0
    settings = RMISettings(downsample=downsample, region_size=2)
    scores = visit(logits, labels, settings).scores
    expected = region_scores(logits, labels, settings)[0]
    assert expected.isnan().tolist() == [False, False, False, True, False]
    torch.testing.assert_close(scores[~scores.isnan()], expected[~expected.isnan()])


@pytest.mark.parametrize('downsample', ['avg', 'max'])
def test_perfect_map_scores_one_and_a_constant_one_zero(downsample):
    _, labels = make_batch(images=1, void=False, height=32, width=32)
    settings = RMISettings(downsample=downsample, region_size=2)
    scores = visit(sharp_logits(labels, 3, 1e3), labels, settings).scores
    torch.testing.assert_close(scores, torch.ones(3, dtype=torch.float64))
    scores = visit(torch.full((1, 3, 32, 32), -1e3).double(), labels, settings).scores
    torch.testing.assert_close(scores, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize('settings', [dict(downsample='max'), dict(downsample_factor=1)], ids=str)
def test_class_that_fills_the_image_has_no_score(settings):
    logits, labels = make_batch(images=1, classes=2)
    scores = visit(logits, torch.zeros_like(labels), RMISettings(**settings)).scores
    assert scores.isnan().all()


def visit(logits, labels, settings):
    visitor = ImageVisitor(
        logits.shape[1:],
        settings,
        batch_normalizers(labels),
        ignore_index=255,
        dtype=logits.dtype,
        region_dtype=torch.float64,
        device=logits.device,
        with_scores=True,
    )
    return visitor.visit(logits[0], labels[0])


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
    loss = one_pass_objective(*random_batch(1, 3, 33))
    assert loss.grad_fn is not None
    assert not visitors()


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_value_alone_needs_nothing_as_large_as_an_image(monkeypatch, mode):
    limit_blocks(monkeypatch, 1 << 18)
    logits, labels = random_batch(2, 21, 257)
    with mode(), Allocations() as allocations:
        RMILoss()(logits, labels)
    assert allocations.sizes[0] < logits.nbytes / 4


def random_batch(images: int, classes: int, side: int):
    generator = torch.Generator().manual_seed(0)
    labels = block_labels(images, classes, side, side, generator)
    logits = torch.randn(images, classes, side, side, generator=generator, requires_grad=True)
    return logits, labels
