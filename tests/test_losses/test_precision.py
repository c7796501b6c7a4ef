"""Sharp predictions, half precision, mixed precision and memory layouts."""

import functools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import oracle
from helpers.batches import make_batch, sharp_logits
from helpers.implementations import LOSSES, registered, value_and_gradient
from helpers.tolerances import TOLERANCES, assert_close
from mmseg_rmi.functional import rmi_loss, streamed_rmi_loss
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

HALF = (torch.float16, torch.bfloat16)
DTYPES = (*HALF, torch.float32, torch.float64)
dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)
half_dtypes = pytest.mark.parametrize('dtype', HALF, ids=str)
losses = pytest.mark.parametrize(
    'loss',
    [
        RMILoss(),
        RMILoss(covariance='mean', ridge=1e-6),
        RMILoss(downsample='max', ignored='exclude', region_size=2, downsample_factor=2),
        RMILoss(downsample='interp'),
        SigmoidCrossEntropyLoss(),
        AffinityFieldLoss(),
        AffinityFieldLoss(sizes=(1, 2), adaptive=True, downsample_factor=2),
    ],
    ids=['rmi', 'paper', 'max-exclude', 'interp', 'bce', 'affinity', 'adaptive'],
)


@pytest.mark.parametrize('objective', LOSSES.values(), ids=LOSSES)
@given(
    dtype=st.sampled_from(DTYPES),
    magnitude=st.sampled_from([50, 1e4, -50, -1e4]),
    settings=st.sampled_from(
        [
            dict(),
            dict(covariance='mean', ridge=1e-6),
            dict(covariance='relative', ridge=1e-4),
            dict(downsample='max'),
            dict(downsample='interp'),
            dict(ignored='exclude'),
            dict(downsample_factor=1, region_size=2),
            dict(loss_lambda=0),
            dict(pixel_term='ce', activation='softmax'),
        ]
    ),
)
def test_sharp_predictions_are_finite(objective, dtype, settings, magnitude):
    _, labels = make_batch(height=64, width=61)
    logits = sharp_logits(labels, 3, magnitude).to(dtype)
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    assert gradient.isfinite().all()
    expected = oracle.objective(logits.double(), labels, **settings)
    assert_close(loss, expected, torch.float32, scale=10)


@pytest.mark.parametrize('inverted', [False, True])
@pytest.mark.parametrize('magnitude', [12, 50, 1e4])
@pytest.mark.parametrize('objective', LOSSES.values(), ids=LOSSES)
def test_sharp_predictions_of_a_large_image_are_finite(objective, magnitude, inverted):
    """Rounding of a sum over 512 x 512 pixels exceeds the ridge in float32."""
    _, labels = make_batch(images=1, classes=2, height=512, width=512)
    logits = sharp_logits(labels, 2, -magnitude if inverted else magnitude).float()
    settings = dict(region_size=2, downsample_factor=1, loss_lambda=0)
    loss, gradient = value_and_gradient(objective, logits, labels, **settings)
    assert gradient.isfinite().all()
    assert loss.isfinite()
    if not inverted:  # a perfect class sits at 1/2 log 2
        assert loss == pytest.approx(2 * 0.3466, abs=0.01)


@losses
@dtypes
def test_loss_and_gradient_have_the_expected_types(loss, dtype):
    logits, labels = make_batch()
    value, gradient = value_and_gradient(loss, logits.to(dtype), labels)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype


@losses
@pytest.mark.parametrize('dtype', DTYPES[:-1], ids=str)
def test_value_is_that_of_the_same_logits_in_float64(loss, dtype):
    logits, labels = make_batch()
    logits = logits.to(dtype)
    expected, expected_gradient = value_and_gradient(loss, logits.double(), labels)
    value, gradient = value_and_gradient(loss, logits, labels)
    assert_close(value, expected, torch.float32)
    error = (gradient.double() - expected_gradient).abs().max()
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    assert error < TOLERANCES[dtype]['rtol'] * expected_gradient.abs().max() + smallest


@losses
@half_dtypes
@pytest.mark.parametrize('autocast', HALF, ids=str)
def test_autocast_changes_nothing(loss, dtype, autocast):
    logits, labels = make_batch()
    expected, expected_gradient = value_and_gradient(loss, logits.to(dtype), labels)
    half = logits.to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype=autocast):
        value = loss(half, labels)
        value.backward()
    assert torch.equal(value, expected)
    assert torch.equal(half.grad, expected_gradient)


def streamed_total(logits, labels, **options):
    return streamed_rmi_loss(logits[..., ::2, ::2], labels, **options).total


@pytest.mark.parametrize('impl', ['torch', 'reference'])
@pytest.mark.parametrize('region_dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('loss', [rmi_loss, streamed_total])
def test_autocast_does_not_reach_the_functions(loss, region_dtype, impl):
    logits, labels = make_batch()
    loss = functools.partial(loss, region_dtype=region_dtype, impl=impl)
    expected, expected_gradient = value_and_gradient(loss, logits.float(), labels)
    logits = logits.float().requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(logits, labels)
    value.backward()  # outside, as torch asks for
    assert torch.equal(value, expected)
    assert torch.equal(logits.grad, expected_gradient)


def test_autocast_does_not_reach_regions_in_float32(monkeypatch):
    """Autocast lowers matrix products of float32, as on a device that has no float64."""
    monkeypatch.setattr(
        sys.modules['mmseg_rmi.functional.rmi_loss'],
        'default_region_dtype',
        lambda device: torch.float32,
    )
    logits, labels = make_batch()
    expected = registered(logits.float(), labels)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(registered(logits.float(), labels), expected)


def test_head_under_autocast_trains_in_half_precision():
    logits, labels = make_batch(height=32, width=32)
    classifier = torch.nn.Conv2d(3, 3, 1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = classifier(logits.float())
        loss = RMILoss()(output, labels)
    loss.backward()
    assert output.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert classifier.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    'loss',
    [RMILoss(), RMILoss(loss_lambda=0), SigmoidCrossEntropyLoss()],
    ids=['rmi', 'region', 'bce'],
)
def test_scaled_gradient_keeps_what_half_precision_would_lose(loss):
    """float16 ends at 6e-8. A gradient that passed through it before its scale would end there."""
    labels = make_batch(images=1, height=256, width=256)[1]
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    logits = (sharp_logits(labels, 3, 10) + noise).half()
    scale = 2.0**16
    _, scaled = value_and_gradient(lambda *batch: scale * loss(*batch), logits, labels)
    _, expected = value_and_gradient(loss, logits.float(), labels)

    lost = (expected != 0) & (expected.half() == 0)
    assert lost.double().mean() > 0.1
    rounding = 1.01 * (2**-11 * expected.abs() + 2**-25 / scale)  # half of the last place
    assert ((scaled.double() / scale - expected).abs() <= rounding).all()
    assert (scaled[lost] != 0).double().mean() > 0.9


LAYOUTS = {
    'channels-last': lambda t: t.to(memory_format=torch.channels_last),
    'every-other-pixel': lambda t: t.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., ::2, ::2],
    'transposed': lambda t: t.mT.contiguous().mT,
    'slice-of-channels': lambda t: torch.cat([t, t], dim=1)[:, : t.shape[1]],
}


@losses
@pytest.mark.parametrize('layout', LAYOUTS)
def test_layout_of_the_logits_does_not_matter(loss, layout):
    logits, labels = make_batch()
    expected, expected_gradient = value_and_gradient(loss, logits, labels)
    leaf = logits.clone().requires_grad_()
    laid_out = LAYOUTS[layout](leaf)
    assert not laid_out.is_contiguous()
    value = loss(laid_out, labels)
    value.backward()
    assert_close(value, expected)
    assert_close(leaf.grad, expected_gradient)


def test_layout_of_the_labels_and_the_weight_does_not_matter():
    logits, labels = make_batch()
    weight = torch.rand(labels.shape)
    expected = registered(logits, labels, weight=weight)
    apart = [t.repeat_interleave(2, 1)[:, ::2] for t in (labels, weight)]
    assert not any(t.is_contiguous() for t in apart)
    assert_close(registered(logits, apart[0], weight=apart[1]), expected)


@pytest.mark.parametrize('dtype', HALF, ids=str)
def test_weight_may_be_of_half_precision(dtype):
    """OHEMPixelSampler makes it of the type of the logits."""
    logits, labels = make_batch()
    weight = (torch.rand(labels.shape) > 0.5).to(dtype)
    expected = registered(logits, labels, weight=weight.double())
    assert_close(registered(logits, labels, weight=weight), expected)


@pytest.mark.parametrize(
    'loss',
    [RMILoss(), RMILoss(impl='reference'), SigmoidCrossEntropyLoss(), AffinityFieldLoss()],
    ids=['rmi', 'reference', 'bce', 'affinity'],
)
def test_weight_may_be_more_precise_than_the_logits(loss):
    """NumPy's numbers are float64."""
    logits, labels = make_batch()
    weight = torch.rand(labels.shape, dtype=torch.float64)
    pairs = [
        value_and_gradient(loss, logits.float(), labels, weight=each)
        for each in (weight, weight.float())
    ]
    for precise, plain in zip(*pairs, strict=True):
        assert precise.dtype == plain.dtype == torch.float32
        assert_close(precise, plain)


@losses
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_batch_of_one_image(loss, layout):
    logits, labels = make_batch(images=1)
    value, gradient = value_and_gradient(loss, logits.to(memory_format=layout), labels)
    assert value.isfinite()
    assert gradient.shape == logits.shape


@pytest.mark.parametrize(
    'loss',
    [RMILoss(loss_lambda=0), SigmoidCrossEntropyLoss(), AffinityFieldLoss()],
    ids=['region', 'bce', 'affinity'],
)
def test_an_image_twice_costs_what_it_costs_once(loss):
    logits, labels = make_batch(images=1)
    once, twice = loss(logits, labels), loss(logits.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1))
    if isinstance(loss, SigmoidCrossEntropyLoss):  # over the number of valid pixels + 1
        pixels = int((labels != 255).sum())
        once, twice = once * (pixels + 1) * 2, twice * (2 * pixels + 1)
    assert_close(once, twice)
