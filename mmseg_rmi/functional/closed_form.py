"""Lower bound and gradient of one visit, without automatic differentiation.

Shapes: ``k`` maps of ``h x w``, ``n`` points of ``d = R * R`` dimensions each.

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

from mmseg_rmi.functional.settings import RMISettings

# A ridge this many times the number of points is far above the rounding of their second moments in
# float64; below it, factors come from QR decompositions, which never square a value.
LEAST_RIDGE_PER_POINT = 1e-9

# Stands for the number of points where there is none, so that the factor has an inverse.
LEAST_COUNT = 1e-20


class RegionSolution(NamedTuple):
    """What :class:`RegionSolver` finds of ``k`` maps.

    Attributes:
        bounds: ``-I_l - 1/2 log xi``, ``k``, in nats.
        gradients: of the bounds by the prediction, ``k x h x w``.
        scores: :func:`mmseg_rmi.functional.mutual_information.region_score`, ``k``, NaN where
            undefined; None if not asked for.
    """

    bounds: Tensor
    gradients: Tensor
    scores: Tensor | None


class RegionSolver:
    """Bounds and gradients of blocks of down-sampled maps, in reused memory.

    Args:
        settings: the constants of the objective.
        size: ``(h, w)`` of the down-sampled maps.
        block: the largest number of maps in one call.
        dtype: float64, or float32, in which factors come from QR decompositions (see
            :func:`mmseg_rmi.functional.mutual_information.square_root_log_volume`).
        device: of the maps.
        with_scores: whether to find scores as well.

    Example:
        >>> solver = RegionSolver(RMISettings(), (8, 8), 1, torch.float64, torch.device('cpu'))
        >>> truth = torch.eye(8)[None]
        >>> solution = solver(truth, truth)
        >>> solution.bounds.shape, solution.gradients.shape
        (torch.Size([1]), torch.Size([1, 8, 8]))
    """

    def __init__(
        self,
        settings: RMISettings,
        size: tuple[int, int],
        block: int,
        dtype: torch.dtype,
        device: torch.device,
        with_scores: bool = False,
    ) -> None:
        self.settings = settings
        self.with_scores = with_scores
        self.rows, self.columns = (side - settings.region_size + 1 for side in size)
        self.count = self.rows * self.columns
        d = settings.dimension
        self.points = torch.empty(
            block, 1 + 2 * d, self.rows, self.columns, dtype=dtype, device=device
        )
        self.flow = torch.empty(block, d, self.count, dtype=dtype, device=device)
        points = 1 if settings.covariance == 'mean' else self.count
        self.squares_moments = (
            dtype == torch.float64 and settings.ridge > LEAST_RIDGE_PER_POINT * points
        )

    def __call__(
        self, prediction: Tensor, truth: Tensor, kept: Tensor | None = None
    ) -> RegionSolution:
        """Solve for a block of maps.

        Args:
            prediction: down-sampled p, ``k x h x w``.
            truth: down-sampled y, ``k x h x w``.
            kept: ``n``, boolean, the regions that count; all by default.

        Returns:
            Tensors of the solver's type; bounds and gradients are 0 if fewer than two regions
            count.
        """
        d = self.settings.dimension
        points = self._joint_points(prediction, truth, kept)
        count = points[:1, 0].sum(dim=-1).reshape(1, 1, 1)
        scale = 1 / count.clamp(min=1) if self.settings.covariance == 'mean' else 1.0

        factor = self._factorise(points, scale)
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1)[:, -d:].abs().log().sum(dim=-1)
        bounds = log_diagonal / d - self.settings.floor

        identity = torch.eye(1 + 2 * d, dtype=points.dtype, device=points.device)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)[:, -d:]
        weights = whitening[:, :, 1 : 1 + d].mT @ whitening * (scale / d)
        flow = torch.bmm(weights, points, out=self.flow[: len(points)])

        enough = (count >= 2).reshape(1)
        gradients = self._overlap_add(flow, prediction.shape) * enough[:, None, None]
        scores = self._scores(points, scale, log_diagonal) if self.with_scores else None
        return RegionSolution(bounds * enough, gradients, scores)

    def _joint_points(self, prediction: Tensor, truth: Tensor, kept: Tensor | None) -> Tensor:
        """X, ``k x (1 + 2d) x n``."""
        points = self.points[: len(prediction)]
        points[:, 0] = 1
        size = self.settings.region_size
        for start, maps in ((1, prediction), (1 + self.settings.dimension, truth)):
            maps = maps.to(points.dtype)
            for i in range(size):
                for j in range(size):
                    window = maps[:, i : i + self.rows, j : j + self.columns]
                    points[:, start + i * size + j] = window
        points = points.flatten(2)
        return points if kept is None else points.mul_(kept)

    def _factorise(self, points: Tensor, scale: Tensor | float) -> Tensor:
        """L, ``k x (1 + 2d) x (1 + 2d)``, up to the signs of its columns."""
        ridge = torch.full_like(points[0, :, 0], self.settings.ridge)
        ridge[0] = LEAST_COUNT
        if self.squares_moments:
            moments = torch.bmm(points, points.mT) * scale + ridge.diag()
            return torch.linalg.cholesky_ex(moments).L
        diagonal = ridge.sqrt().diag().expand(len(points), -1, -1)
        scaled = points * scale**0.5
        joined = torch.cat([scaled, diagonal], dim=-1)
        factor = torch.linalg.qr(joined.mT).R.mT
        # A perfect map leaves so little that the rounding of the first factor must be corrected.
        whitened = torch.linalg.solve_triangular(factor, joined, upper=False)
        return factor @ torch.linalg.qr(whitened.mT).R.mT

    def _scores(self, points: Tensor, scale: Tensor | float, log_diagonal: Tensor) -> Tensor:
        """``V(0)`` and ``V(Y)`` of ``region_score`` from the eigenvalues of S_Y."""
        ridge = self.settings.ridge
        truth, ones = points[:, -self.settings.dimension :], points[:, :1]
        mean = truth @ ones.mT / ones.sum(dim=-1, keepdim=True).clamp(min=1)
        centred = truth - mean * ones
        eigenvalues = torch.linalg.eigvalsh(centred @ centred.mT * scale).clamp(min=0) / ridge
        unexplained = eigenvalues.log1p().sum(dim=-1)
        explicable = (2 * eigenvalues.log1p() - (2 * eigenvalues).log1p()).sum(dim=-1)
        explained = unexplained - 2 * (log_diagonal - self.settings.dimension * self.settings.floor)
        varies = centred.flatten(1).abs().amax(dim=1) > 0
        return (explained / explicable).clamp(0, 1).where(varies, torch.nan)

    def _overlap_add(self, flow: Tensor, shape: torch.Size) -> Tensor:
        """Sum what each region says of the pixels that it holds, ``k x h x w``."""
        total = flow.new_zeros(shape)
        for place, part in enumerate(flow.unflatten(-1, (self.rows, self.columns)).unbind(1)):
            i, j = divmod(place, self.settings.region_size)
            total[:, i : i + self.rows, j : j + self.columns] += part
        return total
