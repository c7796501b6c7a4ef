"""The region term at several downsampling factors at once."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from helpers.batches import make_batch
from mmseg_rmi.losses import RMILoss

FACTORS = (1, 2, 4)


def mean_over_factors(loss_of, logits):
    """Compute the mean of losses with one factor each, and its gradient."""
    value = torch.stack([loss_of(factor) for factor in FACTORS]).mean()
    return value, *torch.autograd.grad(value, logits)


@pytest.mark.parametrize('impl', ['reference', 'torch'])
@pytest.mark.parametrize(
    'options',
    [
        dict(loss_lambda=0),
        dict(loss_lambda=0.3, downsample='max'),
        dict(loss_lambda=1),
        dict(activation='softmax', ignored='exclude'),
        dict(activation='softmax', downsample='interp', nonnegative=False),
    ],
    ids=str,
)
def test_the_loss_is_the_mean_over_the_factors(impl, options):
    logits, labels = make_batch(classes=4)
    labels[labels == 3] = 0
    logits.requires_grad_()
    build = partial(RMILoss, loss_weight=2.0, impl=impl, **options)
    value = build(downsample_factor=list(FACTORS))(logits, labels)
    expected, gradient = mean_over_factors(
        lambda factor: build(downsample_factor=factor)(logits, labels), logits
    )
    assert_close(value, expected)
    assert_close(torch.autograd.grad(value, logits)[0], gradient)


def test_streamed_terms_are_means_over_the_factors():
    logits, labels = make_batch()
    low = logits[..., ::4, ::4].clone().requires_grad_()
    build = partial(RMILoss, loss_lambda=0.3, pixel_term='ce')
    stream = {
        factor: build(downsample_factor=factor).stream(low, labels, align_corners=True)
        for factor in (FACTORS, *FACTORS)
    }
    found = stream.pop(FACTORS)
    expected, gradient = mean_over_factors(lambda factor: stream[factor].total, low)
    assert_close(found.total, expected)
    assert_close(torch.autograd.grad(found.total, low)[0], gradient)
    for part in ('region', 'score'):
        parts = torch.stack([getattr(terms, part) for terms in stream.values()])
        assert_close(getattr(found, part), parts.mean())
    assert found.correct == stream[1].correct > 0


def test_several_scales_compile_to_one_graph():
    logits, labels = make_batch()
    loss = RMILoss(downsample_factor=FACTORS)
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    assert_close(compiled(logits, labels), loss(logits, labels))


@pytest.mark.parametrize(
    ('factors', 'error', 'message'),
    [
        ((), ValueError, 'downsample_factor must name at least one factor'),
        ((2, 0), ValueError, 'downsample_factor must be from 1 to 4096, got 0'),
        ((2, 4.0), TypeError, r'downsample_factor must be an integer, got 4\.0'),
        ('24', TypeError, "downsample_factor must be an integer, got '2'"),
    ],
    ids=str,
)
def test_what_is_no_factor_is_named(factors, error, message):
    with pytest.raises(error, match=message):
        RMILoss(downsample_factor=factors)


def test_the_factor_that_leaves_too_few_cells_is_named():
    loss = RMILoss(downsample_factor=(1, 8))
    with pytest.raises(ValueError, match=r'12 x 12, downsample_factor=8\): use crops of at least'):
        loss(torch.zeros(1, 2, 12, 12), torch.zeros(1, 12, 12, dtype=torch.long))
