"""The streamed objective is that of the upsampled logits, and never holds these of a batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers import drawn
from helpers.allocations import Allocations, limit_blocks, workspaces
from helpers.batches import block_labels, make_batch, sharp_logits
from helpers.implementations import (
    reference_loss,
    streamed_loss,
    streamed_reference,
    torch_loss,
)
from helpers.scores import region_scores
from mmseg_rmi.functional import Normalizers, RMISettings


def up_sample(logits, labels, align_corners):
    return F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=align_corners)


@given(
    data=st.data(),
    align_corners=st.booleans(),
    low=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
@hypothesis_settings(max_examples=100)
def test_every_term_is_that_of_the_up_sampled_logits(data, align_corners, low, dtype):
    settings = data.draw(drawn.settings())
    batch = data.draw(drawn.batches(settings, dtype))
    labels, ignore_index = batch.labels, batch.ignore_index
    logits = F.adaptive_avg_pool2d(batch.logits, low).requires_grad_()

    full = up_sample(logits, labels, align_corners)
    expected = torch_loss(full, labels, settings, ignore_index=ignore_index)
    (expected_gradient,) = torch.autograd.grad(expected, logits, retain_graph=True)
    terms = streamed_loss(
        logits, labels, settings, align_corners=align_corners, ignore_index=ignore_index
    )
    (gradient,) = torch.autograd.grad(terms.total, logits)

    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(terms.total, expected, rtol=tolerance, atol=tolerance)
    error = (gradient - expected_gradient).abs().max()
    assert error <= 10 * tolerance * expected_gradient.abs().max() + 1e-15
    pixels_alone = RMISettings(loss_lambda=1, pixel_term=settings.pixel_term)
    pixel_term = settings.loss_lambda * reference_loss(
        full, labels, pixels_alone, ignore_index=ignore_index
    )
    torch.testing.assert_close(terms.total - terms.region, pixel_term, rtol=1e-5, atol=1e-5)
    assert 0 <= terms.score <= 1
    prediction = (full > 0).long()[:, 0] if full.shape[1] == 1 else full.argmax(dim=1)
    assert terms.correct == ((prediction == labels) & (labels != ignore_index)).sum()


@pytest.mark.parametrize('align_corners', [True, False])
def test_score_is_the_mean_of_the_readable_scores(align_corners):
    logits, labels = make_batch(images=3, classes=5)
    labels[0][labels[0] == 2] = 0
    logits = F.avg_pool2d(logits, 3)
    terms = streamed_loss(logits, labels, align_corners=align_corners)
    full = up_sample(logits, labels, align_corners)
    scores = region_scores(full, labels, RMISettings())
    assert scores.isnan().sum() == 1
    torch.testing.assert_close(terms.score, scores.nanmean())


def test_perfect_prediction_scores_one_and_an_empty_batch_zero():
    _, labels = make_batch(void=False)
    perfect = sharp_logits(labels, 3, 1e3)
    torch.testing.assert_close(streamed_loss(perfect, labels).score, torch.tensor(1.0).double())
    nothing = streamed_loss(perfect, torch.full_like(labels, 255))
    assert nothing == (0, 0, 0, 0)


def test_only_the_total_carries_a_gradient():
    logits, labels = make_batch(height=16, width=16)
    terms = streamed_loss(logits[..., ::2, ::2].requires_grad_(), labels)
    assert [term.requires_grad for term in terms] == [True, False, False, False]


def test_normalizers_divide_the_two_terms():
    logits, labels = make_batch(height=16, width=16)
    logits = logits[..., ::2, ::2]
    pixels = (labels != 255).sum() + 1
    terms = streamed_loss(logits, labels)
    divided = streamed_loss(
        logits, labels, normalizers=Normalizers(2 * pixels, torch.tensor(4 * len(labels)))
    )
    torch.testing.assert_close(divided.region, terms.region / 4)
    pixel_term = terms.total - terms.region
    torch.testing.assert_close(divided.total - divided.region, pixel_term / 2)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_terms_of_half_precision_are_those_of_the_reference(dtype):
    logits, labels = make_batch(height=65, width=65)
    logits = F.avg_pool2d(logits, 4).to(dtype)
    terms, expected = (loss(logits, labels) for loss in (streamed_loss, streamed_reference))
    torch.testing.assert_close(terms, expected, rtol=1e-6, atol=1e-6)


def test_gradient_in_half_precision_is_rounded_once():
    """The plain way rounds it at full resolution, and what it sums of that again."""
    logits, labels = make_batch(height=65, width=65)
    logits = F.avg_pool2d(logits, 4).half()
    leaf = logits.clone().requires_grad_()
    streamed_loss(leaf, labels).total.backward()
    low = logits.double().requires_grad_()
    reference_loss(up_sample(low, labels, align_corners=False), labels).backward()
    rounding = 2**-11 * low.grad.abs() + 2**-25
    assert ((leaf.grad.double() - low.grad).abs() <= 1.02 * rounding).all()


def test_working_memory_is_gone_before_the_backward_pass():
    logits, labels = make_batch(height=16, width=16)
    terms = streamed_loss(logits[..., ::2, ::2].requires_grad_(), labels)
    assert terms.total.grad_fn is not None
    assert not workspaces()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('classes', [1, 5, 150])
def test_no_more_than_one_image_is_held_at_full_resolution(monkeypatch, classes, dtype):
    limit_blocks(monkeypatch, 1 << 18)
    images, side = 3, 65
    generator = torch.Generator().manual_seed(0)
    labels = block_labels(images, max(classes, 2), side, side, generator)
    logits = torch.randn(images, classes, 17, 17, generator=generator).to(dtype)
    logits.requires_grad_()
    with Allocations() as allocations:
        streamed_loss(logits, labels).total.backward()
    one_image = 4 * classes * side**2
    labels_and_a_block = max(labels.nbytes, 1 << 18)
    assert allocations.sizes[0] <= max(one_image, labels_and_a_block)
