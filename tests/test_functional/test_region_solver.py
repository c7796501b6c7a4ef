"""Bounds, gradients and scores without autograd are those of the readable form with it."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseg_rmi.functional import RMISettings, region_score
from mmseg_rmi.functional.blocked.region_solver import RegionSolver
from mmseg_rmi.functional.mutual_information import log_volume
from mmseg_rmi.functional.regions import centre, covariance_scale, extract_regions

CPU = torch.device('cpu')


def solve(settings, prediction, truth, kept=None, dtype=torch.float64):
    if kept is not None:
        settings = replace(settings, ignored='exclude')
    size = tuple(prediction.shape[1:])
    solver = RegionSolver(settings, size, len(prediction), 1 << 24, dtype, CPU, with_scores=True)
    assert solver.block == len(prediction)
    return solver(prediction.to(dtype), truth.to(dtype), kept)


def readable(settings, prediction, truth, kept=None):
    """The same from centred points, the gradient by autograd."""
    prediction = prediction.clone().requires_grad_()
    points = [extract_regions(maps, settings.region_size) for maps in (truth, prediction)]
    points = [centre(each, kept) for each in points]
    scale = covariance_scale(points[0], kept, settings.covariance)
    points = [each * scale.sqrt() for each in points]
    bounds = log_volume(*points, settings.ridge) / (2 * settings.dimension)
    (gradients,) = torch.autograd.grad(bounds.sum(), prediction)
    with torch.no_grad():
        return bounds.detach(), gradients, region_score(*points, settings.ridge)


def down_sampled_maps(maps, size, seed, sharpness=1.0):
    """Truth of cells that are partly of a class, and a prediction that knows half of it."""
    generator = torch.Generator().manual_seed(seed)
    truth, noise = torch.rand(2, maps, *size, dtype=torch.float64, generator=generator)
    truth = (3 * truth - 1).clamp(0, 1)
    return (sharpness * (truth - 0.5) + noise - 0.5).sigmoid(), truth


@given(
    region_size=st.integers(1, 4),
    size=st.tuples(st.integers(4, 14), st.integers(4, 14)),
    maps=st.integers(1, 4),
    covariance=st.sampled_from(['sum', 'mean', 'relative']),
    ridge=st.sampled_from([1e-9, 1e-6, 5e-4, 1.0]),
    drop=st.sampled_from([None, 0.1, 0.6, 1.0]),
    sharpness=st.sampled_from([0.1, 3.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_solution_equals_autograd_of_the_readable_form(
    region_size, size, maps, covariance, ridge, drop, sharpness, seed
):
    settings = RMISettings(region_size=region_size, covariance=covariance, ridge=ridge)
    prediction, truth = down_sampled_maps(maps, size, seed, sharpness)
    truth[0] = 0
    kept = None
    if drop is not None:
        number = (size[0] - region_size + 1) * (size[1] - region_size + 1)
        generator = torch.Generator().manual_seed(seed)
        kept = (torch.rand(number, generator=generator) >= drop).expand(maps, -1)
    if (kept is None and size == (region_size, region_size)) or (
        kept is not None and kept[0].sum() < 2
    ):
        solution = solve(settings, prediction, truth, kept)
        assert (solution.bounds == 0).all()  # fewer than two points have no covariance
        assert (solution.gradients == 0).all()
        return
    bounds, gradients, scores = readable(settings, prediction, truth, kept)
    solution = solve(settings, prediction, truth, kept)
    torch.testing.assert_close(solution.bounds, bounds, rtol=1e-6, atol=1e-9)
    largest = gradients.abs().amax(dim=(1, 2), keepdim=True)
    assert ((solution.gradients - gradients).abs() <= 1e-6 * largest + 1e-12).all()
    torch.testing.assert_close(solution.scores, scores, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_gradient_is_the_slope_of_the_bound():
    settings = RMISettings(region_size=2)
    prediction, truth = down_sampled_maps(2, (7, 6), seed=0)
    _, direction = down_sampled_maps(2, (7, 6), seed=1)
    ends = [solve(settings, prediction + step * direction, truth).bounds for step in (1e-5, -1e-5)]
    slope = ((ends[0] - ends[1]) / 2e-5).sum()
    gradients = solve(settings, prediction, truth).gradients
    torch.testing.assert_close((gradients * direction).sum(), slope, rtol=1e-6, atol=0)


def test_one_pixel_regions_are_ordinary_regression():
    """d = 1: -I_l = 1/2 log(var_Y - cov^2 / (var_P + xi) + xi)."""
    settings = RMISettings(region_size=1, covariance='mean', ridge=1e-3)
    prediction, truth = down_sampled_maps(1, (9, 8), seed=1)
    (var_y, cov), (_, var_p) = torch.cov(
        torch.stack([truth.flatten(), prediction.flatten()]), correction=0
    )
    expected = 0.5 * torch.log(var_y - cov**2 / (var_p + 1e-3) + 1e-3) - 0.5 * math.log(1e-3)
    torch.testing.assert_close(solve(settings, prediction, truth).bounds[0], expected)


@pytest.mark.parametrize('covariance', ['sum', 'mean', 'relative'])
def test_perfect_maps_score_one_and_constant_ones_zero(covariance):
    settings = RMISettings(covariance=covariance)
    _, truth = down_sampled_maps(3, (20, 20), seed=2)
    ones, zeros = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(solve(settings, truth, truth).scores, ones)
    constant = torch.full_like(truth, 0.3)
    torch.testing.assert_close(solve(settings, constant, truth).scores, zeros, atol=1e-9, rtol=0)


@pytest.mark.parametrize('level', [0.0, 1.0, 0.3])
def test_truth_that_does_not_vary_has_neither_bound_nor_gradient_nor_score(level):
    prediction, truth = down_sampled_maps(2, (40, 40), seed=3)
    solution = solve(RMISettings(), prediction, torch.full_like(truth, level))
    assert solution.scores.isnan().all()
    torch.testing.assert_close(solution.bounds, torch.zeros(2).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(solution.gradients, torch.zeros_like(truth), atol=1e-9, rtol=0)


def test_maps_of_a_block_do_not_know_of_each_other():
    settings = RMISettings(region_size=2)
    prediction, truth = down_sampled_maps(5, (12, 11), seed=4)
    whole = solve(settings, prediction, truth)
    for place in range(5):
        single = solve(settings, prediction[[place]], truth[[place]])
        for one, all_ in zip(single, whole, strict=True):
            torch.testing.assert_close(one[0], all_[place], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_solving_in_blocks_changes_nothing(ignored, dtype):
    settings = RMISettings(region_size=2, ignored=ignored)
    prediction, truth = down_sampled_maps(5, (12, 11), seed=6)
    kept = (torch.arange(110) % 7 > 0).expand(5, -1) if ignored == 'exclude' else None
    arguments = prediction.to(dtype), truth.to(dtype), kept
    kind = type(RegionSolver(settings, (12, 11), 1, 1, dtype, CPU).points)
    two_maps = 2 * kind.bytes_per_map(2, (12, 11), dtype.itemsize)
    in_blocks = RegionSolver(settings, (12, 11), 5, two_maps, dtype, CPU, with_scores=True)
    assert in_blocks.block == 2
    whole = RegionSolver(settings, (12, 11), 5, 1 << 20, dtype, CPU, with_scores=True)
    for one, all_ in zip(in_blocks(*arguments), whole(*arguments), strict=True):
        torch.testing.assert_close(one, all_, rtol=1e-6, atol=1e-6)


def test_memory_of_one_block_does_not_leak_into_the_next():
    settings = RMISettings(region_size=2)
    solver = RegionSolver(settings, (12, 11), 5, 1 << 20, torch.float64, CPU)
    prediction, truth = down_sampled_maps(5, (12, 11), seed=5)
    first = [each.clone() for each in solver(prediction, truth)[:2]]
    solver(truth.flip(0), prediction)
    solver(truth[:2], prediction[:2])
    for again, before in zip(solver(prediction, truth)[:2], first, strict=True):
        assert torch.equal(again, before)


@pytest.mark.parametrize('sharpness', [1.0, 8.0, 50.0])
@pytest.mark.parametrize('region_size', [1, 2, 3])
def test_float32_solution_is_close_to_float64(region_size, sharpness):
    """Sharp maps of 96 x 96 cells, of which float32 cannot form the covariance to the ridge."""
    settings = RMISettings(region_size=region_size)
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(2, 12, 12, generator=generator) > 0.5
    truth = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).double()
    noise = torch.randn(truth.shape, dtype=torch.float64, generator=generator)
    prediction = (sharpness * (2 * truth - 1) + noise).sigmoid()
    expected = solve(settings, prediction, truth)
    measured = solve(settings, prediction, truth, dtype=torch.float32)
    torch.testing.assert_close(measured.bounds.double(), expected.bounds, rtol=1e-4, atol=1e-4)
    error = (measured.gradients - expected.gradients).abs().max()
    assert error <= 1e-2 * expected.gradients.abs().max()
