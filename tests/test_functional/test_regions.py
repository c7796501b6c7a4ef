import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import oracle
from helpers.tolerances import assert_close
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.regions import (
    centre,
    covariance_scale,
    extract_regions,
    kept_regions,
)


@given(size=st.integers(1, 5), extra=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_every_window_becomes_a_point(size, extra):
    maps = torch.arange(2 * (size + extra[0]) * (size + extra[1])).reshape(2, size + extra[0], -1)
    for points, image in zip(extract_regions(maps, size), maps, strict=True):
        np.testing.assert_array_equal(points.numpy(), oracle.regions(image.numpy(), size))


def test_region_that_touches_an_ignored_cell_does_not_count():
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    settings = RMISettings(downsample_factor=1, region_size=2, ignored='exclude')
    kept = [[True, True, False], [True, True, False]]
    assert kept_regions(valid, settings).reshape(2, 3).tolist() == kept


def test_cell_is_ignored_with_any_pixel_of_it_in_its_own_image():
    valid = torch.ones(2, 1, 10, 18, dtype=torch.bool)
    valid[1, 0, 9, 17] = False  # padding of 2: the last cell of 3 x 5
    settings = RMISettings(region_size=2, ignored='exclude')
    kept = kept_regions(valid, settings)
    assert kept.shape == (2, 1, 8)
    assert kept.flatten().tolist() == [True] * 15 + [False]


def test_all_regions_count_where_ignored_pixels_are_background():
    assert kept_regions(torch.zeros(1, 8, 8, dtype=torch.bool), RMISettings()) is None


@pytest.mark.parametrize(('covariance', 'bias'), [('sum', None), ('mean', True)])
def test_centred_points_square_to_the_covariance_of_those_kept(covariance, bias):
    points = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(20) % 3 > 0
    number = int(kept.sum())
    expected = np.cov(points[:, kept].numpy(), bias=True) * (1 if bias else number)
    centred = centre(points, kept)
    scale = covariance_scale(centred, kept, covariance)
    assert_close(scale * centred @ centred.mT, expected)


def test_relative_covariance_of_the_truth_has_a_mean_variance_of_one():
    points = torch.randn(2, 3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    centred = centre(torch.stack([points[0], 1e-3 * points[1]]))
    scale = covariance_scale(centred, None, 'relative')
    variances = (scale * centred @ centred.mT).diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    assert_close(variances, [1.0, 1.0])


def test_truth_that_does_not_vary_has_no_relative_covariance():
    centred = centre(torch.full((3, 20), 0.3))
    assert covariance_scale(centred, None, 'relative') == 0


@pytest.mark.parametrize('number', [0, 1])
def test_fewer_than_two_points_have_no_covariance(number):
    centred = centre(torch.rand(4, 5), torch.arange(5) < number)
    assert (centred == 0).all()
