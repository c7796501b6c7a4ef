"""The solution of the region term from QR decompositions of its points, which square no value.

For float32, and for ridges that float64 does not resolve beside a covariance: see
:func:`mmseg_rmi.functional.mutual_information.square_root_log_volume`. The algebra is that of
:mod:`.closed_form`, with the roots of the ridges among the points.

Shapes: ``m`` maps, ``n`` points of ``d`` dimensions each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.closed_form import LEAST_COUNT, score_bounds
from mmseg_rmi.functional.regions import LEAST_VARIANCE, centre, covariance_scale
from mmseg_rmi.functional.settings import RMISettings


class PointSolution(NamedTuple):
    """The solution for ``m`` maps.

    Attributes:
        bounds: as of :class:`mmseg_rmi.functional.blocked.closed_form.MomentSolution`, ``m``.
        grad_points: of the bounds by P, ``m x d x n``.
        scores: as of there, ``m``; None if not asked for.
    """

    bounds: Tensor
    grad_points: Tensor
    scores: Tensor | None


def solve_points(
    points: Tensor, kept: Tensor | None, settings: RMISettings, with_scores: bool = False
) -> PointSolution:
    """Compute bounds and their gradient by the points.

    Args:
        points: X, ``m x (1 + 2d) x n``: ones, P and Y, 0 where a region does not count.
        kept: ``m x n``, boolean, the regions that count; None if all do.
        settings: the constants of the loss.
        with_scores: whether to find scores as well.

    Example:
        >>> points = torch.tensor([[[1.0, 1.0, 1.0], [0.2, 0.9, 0.4], [0.0, 1.0, 1.0]]])
        >>> solve_points(points, None, RMISettings(region_size=1)).grad_points.shape
        torch.Size([1, 1, 3])
    """
    d = settings.dimension
    truth = centre(points[:, -d:], kept)
    scale = covariance_scale(truth, kept, settings.covariance)
    roots = points.new_full((1 + 2 * d,), settings.ridge**0.5)
    roots[0] = LEAST_COUNT**0.5
    ridges = roots.diag().expand(len(points), -1, -1)
    joined = torch.cat([points * scale.sqrt(), ridges], dim=-1)
    regressors, residual = joined.split([1 + d, d], dim=1)

    orthogonal, factor = torch.linalg.qr(regressors.mT)
    regression = torch.zeros_like(residual[:, :, : 1 + d])
    for _ in range(2):  # a sharp map leaves so little that the first rounding must be corrected
        correction = torch.linalg.solve_triangular(
            factor, orthogonal.mT @ residual.mT, upper=True
        ).mT
        regression = regression + correction
        residual = residual - correction @ regressors

    factor = torch.linalg.qr(residual.mT).R
    bounds = _log_diagonal(factor) / d - settings.floor
    unexplained = residual[:, :, : points.shape[-1]]
    for triangle, upper in ((factor.mT, False), (factor, True)):
        unexplained = torch.linalg.solve_triangular(triangle, unexplained, upper=upper)
    grad_points = regression[:, :, 1:].mT @ unexplained * (-scale.sqrt() / d)
    if not with_scores:
        return PointSolution(bounds, grad_points, None)

    def log_volume(points: Tensor) -> Tensor:
        joined = torch.cat([points / settings.ridge**0.5, identity], dim=-1)
        return 2 * _log_diagonal(torch.linalg.qr(joined.mT).R)

    identity = torch.eye(d, dtype=points.dtype, device=points.device).expand(len(points), -1, -1)
    scaled = truth * scale.sqrt()
    scores = score_bounds(bounds, log_volume(scaled), log_volume(2**0.5 * scaled), d)
    count = points[:, 0].sum(dim=-1)
    varies = truth.square().sum(dim=-1).amax(dim=-1) > LEAST_VARIANCE * count
    return PointSolution(bounds, grad_points, scores.where(varies, torch.nan))


def _log_diagonal(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)
