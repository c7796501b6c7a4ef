import pytest
import torch

from helpers import oracle
from helpers.tolerances import assert_close
from mmseg_rmi.functional.downsampling import downsample, pooled_side

METHODS = ('avg', 'max', 'interp')


@pytest.mark.parametrize('method', METHODS)
def test_pooled_side_is_the_side_of_the_pooled_map(method):
    for factor in range(1, 7):
        for side in (*range(factor, 2 * factor + 2), 31, 37, 48):
            pooled = downsample(torch.zeros(1, 1, side, factor), method, factor)
            assert pooled.shape[-2] == pooled_side(side, method, factor), (side, factor)


@pytest.mark.parametrize('factor', range(1, 7))
@pytest.mark.parametrize('method', METHODS)
def test_probability_is_pooled_cell_by_cell(method, factor):
    image = torch.rand(31, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = oracle.Cells(method, factor, image.shape).of_probability(image.numpy())
    assert_close(downsample(image[None, None], method, factor)[0, 0], expected)


@pytest.mark.parametrize('factor', range(1, 7))
def test_truth_is_interpolated_from_the_nearest_pixel(factor):
    image = torch.randint(2, (31, 37), generator=torch.Generator().manual_seed(0)).double()
    expected = oracle.Cells('interp', factor, image.shape).of_truth(image.numpy())
    pooled = downsample(image[None, None], 'interp', factor, interpolation='nearest')[0, 0]
    assert_close(pooled, expected)


def test_padding_never_wins_the_maximum():
    image = torch.full((1, 1, 8, 8), -2.0)
    assert (downsample(image, 'max', 4) == -2).all()
