"""Lower bound and its gradient in closed form, without automatic differentiation.

Shapes: ``m`` maps of ``h x w``, ``n`` points of ``d = R * R`` dimensions each.

Stack a row of ones, the prediction's points P and the truth's points Y to X, ``(1 + 2d) x n``, and
factorise their second moments with the ridge on all but the first diagonal entry::

    X X^T + diag(0, xi, ..., xi) = L L^T

Cholesky's elimination is the algebra of Eq. 11 to 13. The first column of L takes out the means,
the next d columns the regression ``A = S_YP (S_P + xi I)^-1`` of Y on P, and what is left at the
lower right is the posterior covariance::

    L_YY L_YY^T = S_Y - A S_YP^T + xi I = M + xi I

so ``log det(M + xi I)`` is twice the sum of the logarithms of the last d diagonal entries (Eq. 15).
The last d rows T of ``L^-1`` are ``L_YY^-1 [.., -A, I]``: T X is the whitened residual ``Y - A P``.

M is the minimum over A of the covariance of the residual. By the envelope theorem a change of P
moves M as if A stood still, which gives the gradient in the same terms, T_P the columns of P::

    d(-I_l)/dP = -1/d A^T (M + xi I)^-1 (Y - A P) = 1/d T_P^T T X

A map's gradient is the sum over the d places that a pixel has in the regions that hold it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.regions import LEAST_VARIANCE
from mmseg_rmi.functional.settings import RMISettings

# Stands for the number of points where there is none, so that the factor has an inverse.
LEAST_COUNT = 1e-20


class MomentSolution(NamedTuple):
    """The solution for ``m`` maps, from the second moments of their points.

    Attributes:
        bounds: ``-I_l - 1/2 log xi``, ``m``, in nats.
        weights: ``1/d T_P^T T``, ``m x d x (1 + 2d)``; times X, the gradient of the bounds by P.
        scores: :func:`mmseg_rmi.functional.mutual_information.region_score`, ``m``, NaN where
            undefined; None if not asked for.
    """

    bounds: Tensor
    weights: Tensor
    scores: Tensor | None


def solve_moments(
    moments: Tensor, settings: RMISettings, with_scores: bool = False
) -> MomentSolution:
    """Compute bounds, and what makes a gradient of the points, from ``X X^T``.

    Args:
        moments: ``X X^T``, ``m x (1 + 2d) x (1 + 2d)``, float64.
        settings: the constants of the loss.
        with_scores: whether to find scores as well.

    Example:
        >>> ones, prediction, truth = torch.eye(3, dtype=torch.float64)
        >>> points = torch.stack([ones * 0 + 1, prediction, truth])
        >>> solution = solve_moments((points @ points.mT)[None], RMISettings(region_size=1))
        >>> solution.bounds.shape, solution.weights.shape
        (torch.Size([1]), torch.Size([1, 1, 3]))
    """
    d = settings.dimension
    covariance = _truth_covariance(moments, d)
    scale = _covariance_scale(covariance, moments[:, 0, 0], settings.covariance)
    ridges = moments.new_full((1 + 2 * d,), settings.ridge)
    ridges[0] = LEAST_COUNT
    factor = torch.linalg.cholesky_ex(moments * scale + ridges.diag()).L
    bounds = factor.diagonal(dim1=-2, dim2=-1)[:, -d:].log().sum(dim=-1) / d - settings.floor

    identity = torch.eye(1 + 2 * d, dtype=factor.dtype, device=factor.device)
    whitening = torch.linalg.solve_triangular(factor, identity, upper=False)[:, -d:]
    weights = whitening[:, :, 1 : 1 + d].mT @ whitening * (scale / d)
    if not with_scores:
        return MomentSolution(bounds, weights, None)

    def log_volume(matrix: Tensor) -> Tensor:
        factor = torch.linalg.cholesky_ex(matrix / settings.ridge + identity[:d, :d]).L
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    truth = covariance * scale
    scores = score_bounds(bounds, log_volume(truth), log_volume(2 * truth), d)
    varies = _largest_diagonal(covariance) > LEAST_VARIANCE * _largest_diagonal(
        moments[:, -d:, -d:]
    )
    return MomentSolution(bounds, weights, scores.where(varies, torch.nan))


def score_bounds(bounds: Tensor, unexplained: Tensor, doubled: Tensor, dimension: int) -> Tensor:
    """Compute ``region_score`` from ``log det(S_Y / xi + I)`` and ``log det(2 S_Y / xi + I)``.

    With P = Y, M is ``xi S_Y (S_Y + xi I)^-1``, and the matrices commute, so
    ``log det(M + xi I) = d log xi + log det(2 S_Y / xi + I) - log det(S_Y / xi + I)``.

    Args:
        bounds: as of :class:`MomentSolution`, ``m``.
        unexplained: the first of these, ``m``.
        doubled: the second, ``m``.
        dimension: d.
    """
    explained = unexplained - 2 * dimension * bounds
    return (explained / (2 * unexplained - doubled)).clamp(0, 1)


def _truth_covariance(moments: Tensor, dimension: int) -> Tensor:
    sums = moments[:, :1, -dimension:]
    return moments[:, -dimension:, -dimension:] - sums.mT @ sums / moments[:, :1, :1].clamp(min=1)


def _covariance_scale(truth_covariance: Tensor, count: Tensor, covariance: str) -> Tensor:
    """Compute :func:`mmseg_rmi.functional.regions.covariance_scale` from sums of products."""
    if covariance == 'sum':
        return torch.ones_like(count)[:, None, None]
    if covariance == 'mean':
        return (1 / count.clamp(min=1))[:, None, None]
    variance = truth_covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    varies = variance > LEAST_VARIANCE * count
    return torch.where(varies, 1 / variance, torch.zeros_like(variance))[:, None, None]


def _largest_diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).amax(dim=-1)
