"""The lower bound against textbook algebra, exact arithmetic and fields of known information."""

import math

import pytest
import torch

from helpers import oracle
from helpers.tolerances import assert_close
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.mutual_information import (
    log_volume,
    posterior_covariance,
    square_root_log_volume,
)
from mmseg_rmi.functional.reference import negative_lower_bounds
from mmseg_rmi.functional.regions import centre, extract_regions, paired_points


def random_points(dimension=4, number=50, seed=0, dtype=torch.float64):
    """Centred truth and prediction that share half of their variance."""
    generator = torch.Generator().manual_seed(seed)
    common, truth, prediction = torch.randn(3, dimension, number, generator=generator).double()
    return tuple(centre(points).to(dtype) for points in (common + truth, common + prediction))


def oracle_log_volume(truth, prediction, ridge, exact=False):
    bound = oracle.lower_bound(truth.numpy(), prediction.numpy(), ridge, 'sum', exact=exact)
    return -2 * len(truth) * bound - len(truth) * math.log(ridge)


def test_posterior_covariance_is_that_of_eq_13():
    truth, prediction = random_points()
    ridge = 1e-3
    cross = truth @ prediction.mT
    inverse = torch.linalg.inv(prediction @ prediction.mT + ridge * torch.eye(4))
    expected = truth @ truth.mT - cross @ inverse @ cross.mT
    assert_close(posterior_covariance(truth, prediction, ridge), expected)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('form', [log_volume, square_root_log_volume])
@pytest.mark.parametrize('ridge', [1.0, 5e-4, 1e-6])
@pytest.mark.parametrize('dimension', [1, 4, 9])
def test_log_volume_equals_the_log_determinant(dimension, ridge, form, dtype):
    truth, prediction = random_points(dimension)
    expected = oracle_log_volume(truth, prediction, ridge)
    assert_close(form(truth.to(dtype), prediction.to(dtype), ridge), expected)


@pytest.mark.parametrize('ridge', [1e-9, 1e-12, 1e-20])
def test_tiny_ridge_equals_arithmetic_of_60_digits(ridge):
    truth, prediction = random_points()
    truth[0] = prediction[1]  # one direction is known for certain, up to the ridge
    expected = oracle_log_volume(truth, prediction, ridge, exact=True)
    assert_close(log_volume(truth, prediction, ridge), expected, scale=1e3)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_posterior_covariance_of_a_nearly_perfect_map_is_positive_semidefinite(dtype):
    maps = (torch.rand(129, 129, generator=torch.Generator().manual_seed(0)) > 0.5).to(dtype)
    points = extract_regions(maps, 3)
    truth = centre(points)
    eigenvalues = torch.linalg.eigvalsh(posterior_covariance(truth, 0.999 * truth, 5e-4).double())
    assert eigenvalues.min() > 0


@pytest.mark.parametrize('agreement', [0.9, 0.999, 1.0])
def test_float32_resolves_the_ridge_beside_a_large_nearly_perfect_map(agreement):
    """250,000 points: sums of their squares are off by more than the ridge in float32."""
    maps = (torch.rand(512, 512, generator=torch.Generator().manual_seed(0)) > 0.5).double()
    points = extract_regions(maps, 2)
    truth = centre(points)
    prediction = agreement * truth
    expected = oracle_log_volume(truth, prediction, 5e-4)
    measured = log_volume(truth.float(), prediction.float(), 5e-4)
    assert measured == pytest.approx(expected, abs=1e-3)


def white_noise(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lower_bound(truth, prediction, size):
    """``I_l`` of two maps in nats per pixel (Eq. 14), with a ridge that vanishes."""
    settings = RMISettings(
        region_size=size, downsample_factor=1, covariance='mean', ridge=1e-9, nonnegative=False
    )
    truth, prediction = truth[None, None], prediction[None, None]
    valid = torch.ones_like(truth) > 0
    points = paired_points(truth, prediction, None, settings)
    return -float(negative_lower_bounds(*points, valid, None, settings))


@pytest.mark.parametrize('size', [1, 2, 3])
@pytest.mark.parametrize('correlation', [0.0, 0.5, 0.9, 0.999])
def test_white_gaussian_fields_hold_their_known_information(correlation, size):
    """Y = rho P + sqrt(1 - rho^2) N: every pixel tells ``-1/2 log(1 - rho^2)`` nats."""
    prediction, noise = white_noise(2, 400, 400, seed=0)
    truth = correlation * prediction + math.sqrt(1 - correlation**2) * noise
    known = -0.5 * math.log(1 - correlation**2)
    uninformed = lower_bound(truth, torch.zeros_like(truth), size)
    # a correlation measured on 400^2 points is off by about 1/400
    assert lower_bound(truth, prediction, size) - uninformed == pytest.approx(known, abs=0.005)


@pytest.mark.parametrize('size', [1, 2, 3, 4])
def test_gaussian_fields_that_reach_beyond_a_region_hold_their_known_information(size):
    """Y(i, j) = P(i, j) + P(i, j + 1) + sigma N(i, j) with white P, N of variance 1.

    A region knows all of Y but its noise (variance sigma^2), except in its last column, whose right
    neighbour lies outside (sigma^2 + 1). The rows are independent, and in each the covariance of Y
    is tridiagonal with ``2 + sigma^2`` on and 1 beside the diagonal.
    """
    sigma2 = 0.3
    white, noise = white_noise(2, 400, 401, seed=1)
    prediction = white[:, :-1]
    truth = prediction + white[:, 1:] + math.sqrt(sigma2) * noise[:, 1:]

    conditional = (size - 1) * math.log(sigma2) + math.log(sigma2 + 1)
    determinants = [1.0, 2 + sigma2]  # of the tridiagonal matrix, by recurrence
    for _ in range(size - 1):
        determinants.append((2 + sigma2) * determinants[-1] - determinants[-2])
    unconditional = math.log(determinants[-1])

    uninformed = lower_bound(truth, torch.zeros_like(truth), size)
    assert lower_bound(truth, prediction, size) == pytest.approx(
        -conditional / (2 * size), abs=0.005
    )
    assert uninformed == pytest.approx(-unconditional / (2 * size), abs=0.005)


def test_perfect_map_sits_near_half_log_two_above_the_floor():
    """P = Y leaves ``M = xi S (S + xi I)^-1``: an eigenvalue of S explains all but xi of itself."""
    truth, _ = random_points()
    eigenvalues = torch.linalg.eigvalsh(truth @ truth.mT)
    expected = (1 + eigenvalues / (eigenvalues + 5e-4)).log().sum()
    measured = log_volume(truth, truth, 5e-4)
    assert_close(measured, expected)
    assert measured == pytest.approx(4 * math.log(2), rel=1e-4)


def test_information_is_symmetric():
    """I(Y; P) = I(P; Y), exactly so for the covariances of any sample when the ridge vanishes."""
    truth, prediction = random_points(dimension=9, number=200)
    nothing, ridge = torch.zeros_like(truth), 1e-9
    forward = log_volume(truth, nothing, ridge) - log_volume(truth, prediction, ridge)
    backward = log_volume(prediction, nothing, ridge) - log_volume(prediction, truth, ridge)
    torch.testing.assert_close(forward, backward, rtol=1e-7, atol=1e-7)


def test_information_of_a_linear_image_of_the_truth_is_that_of_the_truth():
    """Mutual information does not change when the prediction is mapped by an invertible matrix."""
    truth, prediction = random_points()
    mixing = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    same = log_volume(truth, mixing @ prediction, 1e-9)
    torch.testing.assert_close(same, log_volume(truth, prediction, 1e-9), rtol=1e-7, atol=1e-7)


def test_half_the_height_of_a_map_explains_nearly_as_much():
    """A noisy map of a square, halved, loses less than 5 % with the released constants."""
    truth = torch.zeros(1, 1, 256, 256)
    truth[..., 64:160, 80:192] = 1
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(4))
    prediction, valid = truth * (0.8 + 0.2 * noise), torch.ones_like(truth, dtype=torch.bool)
    whole, half, nothing = (
        negative_lower_bounds(
            *paired_points(truth, height * prediction, None, RMISettings()),
            valid,
            None,
            RMISettings(),
        ).item()
        for height in (1, 0.5, 0)
    )
    assert 0 < half - whole < 0.05 * (nothing - whole)


def test_a_map_and_its_inverse_explain_the_same():
    truth, prediction = torch.rand(2, 1, 1, 20, 20, generator=torch.Generator().manual_seed(5))
    settings = RMISettings(downsample_factor=1)
    volumes = [
        log_volume(*paired_points((truth > 0.5).float(), maps, None, settings), settings.ridge)
        for maps in (prediction, 1 - prediction)
    ]
    torch.testing.assert_close(*volumes)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('ridge', [5e-4, 1e-12])
def test_log_volume_of_an_absent_class_is_exactly_zero(ridge, dtype):
    _, prediction = random_points(dtype=dtype)
    assert log_volume(torch.zeros_like(prediction), prediction, ridge) == 0
