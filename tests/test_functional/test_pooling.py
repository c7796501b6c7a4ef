"""Downsampling differentiated by hand is downsampling differentiated by autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseg_rmi.functional.blocked.pooling import Pooling
from mmseg_rmi.functional.downsampling import downsample

METHODS = ('avg', 'max', 'interp')
methods = pytest.mark.parametrize('method', METHODS)


@st.composite
def poolings(draw: st.DrawFn, method: str) -> Pooling:
    """Of maps that hold at least one cell, most of which are no multiple of DF."""
    factor = draw(st.integers(1, 6))
    size = draw(st.tuples(*[st.integers(factor, factor + 25)] * 2))
    return Pooling(method, factor, size, torch.device('cpu'))


def random(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def readable(pooling, maps, **options):
    return downsample(maps, pooling.method, pooling.factor, **options)


@methods
@given(data=st.data(), seed=st.integers(0, 99))
def test_maps_are_those_of_the_readable_form(method, data, seed):
    pooling = data.draw(poolings(method))
    maps = random(2, 3, *pooling.size, seed=seed)
    pooled, _ = pooling.forward(maps)
    assert pooled.shape == (2, 3, *pooling.pooled_size)
    torch.testing.assert_close(pooled, readable(pooling, maps), rtol=1e-12, atol=1e-12)


@methods
@given(data=st.data(), seed=st.integers(0, 99))
def test_gradient_is_that_of_autograd(method, data, seed):
    pooling = data.draw(poolings(method))
    maps = (
        random(2, 3, *pooling.size, seed=seed).round(decimals=1).requires_grad_()
    )  # some are equal
    gradient = random(2, 3, *pooling.pooled_size, seed=seed + 1)
    _, indices = pooling.forward(maps.detach())
    (expected,) = torch.autograd.grad(readable(pooling, maps), maps, gradient)
    measured = pooling.adjoint(gradient, indices, torch.empty_like(maps))
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-12)


@methods
@given(data=st.data(), seed=st.integers(0, 99))
def test_both_sides_of_the_scalar_product_agree(method, data, seed):
    """``<forward(x), g> = <x, adjoint(g)>``."""
    pooling = data.draw(poolings(method))
    maps = random(2, 2, *pooling.size, seed=seed)
    gradient = random(2, 2, *pooling.pooled_size, seed=seed + 1)
    pooled, indices = pooling.forward(maps)
    handed_back = maps * pooling.adjoint(gradient, indices, torch.empty_like(maps))
    torch.testing.assert_close((pooled * gradient).sum(), handed_back.sum(), rtol=1e-9, atol=1e-9)


@methods
@given(data=st.data(), seed=st.integers(0, 99), classes=st.sampled_from([1, 2, 5]))
def test_counts_of_labels_are_the_pooled_one_hot_maps(method, data, seed, classes):
    pooling = data.draw(poolings(method))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(
        classes + 1, (2, *pooling.size), generator=generator
    )  # the last is no class
    measured = pooling.pooled_one_hot(
        labels.where(labels < classes, 0), labels < classes, classes, torch.float64
    )
    truth = torch.stack([labels == c for c in range(classes)], dim=1).double()
    expected = readable(pooling, truth, interpolation='nearest')
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=0)
