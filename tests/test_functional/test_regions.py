import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from mmseg_rmi.functional import centre, extract_regions
from mmseg_rmi.functional.regions import regions_without_ignored


@given(size=st.integers(1, 5), extra=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_every_window_becomes_a_point(size, extra):
    maps = torch.arange(2 * (size + extra[0]) * (size + extra[1])).reshape(2, size + extra[0], -1)
    for points, image in zip(extract_regions(maps, size), maps, strict=True):
        np.testing.assert_array_equal(points.numpy(), oracle.regions(image.numpy(), size))


def test_region_that_touches_an_ignored_cell_does_not_count():
    ignored = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    kept = [[True, True, False], [True, True, False]]
    assert regions_without_ignored(ignored, 2).reshape(2, 3).tolist() == kept


@pytest.mark.parametrize(('covariance', 'bias'), [('sum', None), ('mean', True)])
def test_centred_points_square_to_the_covariance_of_those_kept(covariance, bias):
    points = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(20) % 3 > 0
    number = int(kept.sum())
    expected = np.cov(points[:, kept].numpy(), bias=True) * (1 if bias else number)
    centred = centre(points, kept, covariance)
    assert_close(centred @ centred.mT, expected)


@pytest.mark.parametrize('number', [0, 1])
@pytest.mark.parametrize('covariance', ['sum', 'mean'])
def test_fewer_than_two_points_have_no_covariance(covariance, number):
    centred = centre(torch.rand(4, 5), torch.arange(5) < number, covariance)
    assert (centred == 0).all()
