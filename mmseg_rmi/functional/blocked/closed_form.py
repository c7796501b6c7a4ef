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

from mmseg_rmi.functional.regions import LEAST_VARIANCE, centre, covariance_scale, least_ridge
from mmseg_rmi.functional.settings import RMISettings

# Stands for the number of points where there is none, so that the factor has an inverse.
LEAST_COUNT = 1e-20


class RegionSolution(NamedTuple):
    """The solution for ``m`` maps.

    Attributes:
        bounds: ``-I_l - 1/2 log xi``, ``m``, in nats.
        gradients: of the bounds by the prediction, ``m x h x w``.
        scores: :func:`mmseg_rmi.functional.mutual_information.region_score`, ``m``, NaN where
            undefined; None if not asked for.
    """

    bounds: Tensor
    gradients: Tensor
    scores: Tensor | None


class _PointSolution(NamedTuple):
    """A :class:`RegionSolution` with gradients by points, ``m x d x n``."""

    bounds: Tensor
    grad_points: Tensor
    scores: Tensor | None


class RegionSolver:
    """Computes bounds and gradients of blocks of down-sampled maps, in reused memory.

    Args:
        settings: the constants of the loss.
        size: ``(h, w)`` of the down-sampled maps.
        maps: how many there are to solve for; ``block`` of them go into one call.
        block_bytes: memory for the points of one call.
        dtype: float64, or float32, in which factors come from QR decompositions (see
            :func:`mmseg_rmi.functional.mutual_information.square_root_log_volume`).
        device: of the maps.
        with_scores: whether to find scores as well.

    Example:
        >>> cpu = torch.device('cpu')
        >>> solver = RegionSolver(RMISettings(), (8, 8), 1, 1 << 20, torch.float64, cpu)
        >>> truth = torch.eye(8)[None]
        >>> solution = solver(truth, truth)
        >>> solution.bounds.shape, solution.gradients.shape
        (torch.Size([1]), torch.Size([1, 8, 8]))
    """

    def __init__(
        self,
        settings: RMISettings,
        size: tuple[int, int],
        maps: int,
        block_bytes: int,
        dtype: torch.dtype,
        device: torch.device,
        with_scores: bool = False,
    ) -> None:
        self.settings = settings
        self.dtype = dtype
        self.with_scores = with_scores
        size_r, (self.height, width) = settings.region_size, size
        self.rows, self.columns = self.height - size_r + 1, width - size_r + 1
        self.count = self.rows * self.columns
        fitting = block_bytes // (2 * settings.dimension * self.count * dtype.itemsize)
        self.block = max(1, min(maps, fitting))
        self.shifted = torch.empty(
            self.block, 1 + 2 * size_r, self.height, self.columns, dtype=dtype, device=device
        )
        self.grad_points = torch.empty(
            self.block, settings.dimension, self.count, dtype=dtype, device=device
        )
        self.order = _joint_order(size_r, device)
        self.ridges = torch.full(
            (1 + 2 * settings.dimension,), settings.ridge, dtype=dtype, device=device
        )
        self.ridges[0] = LEAST_COUNT
        self.squares_moments = dtype == torch.float64 and settings.ridge > least_ridge(
            settings.covariance, self.count
        )

    def __call__(
        self, prediction: Tensor, truth: Tensor, kept: Tensor | None = None
    ) -> RegionSolution:
        """Solve for a block of maps.

        Args:
            prediction: down-sampled p, ``m x h x w``.
            truth: down-sampled y, ``m x h x w``.
            kept: ``m x n``, boolean, the regions that count; all by default.

        Returns:
            Tensors of the solver's type; bounds and gradients are 0 if fewer than two regions
            count.
        """
        shifted = self._shift_columns(prediction, truth)
        if self.squares_moments:
            solution, count = self._solve_moments(shifted, kept)
        else:
            solution, count = self._solve_points(shifted, kept)
        bounds, grad_points, scores = solution
        enough = count >= 2
        gradients = self._overlap_add(grad_points)
        return RegionSolution(bounds * enough, gradients * enough[:, None, None], scores)

    def _shift_columns(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Return ones, and both maps seen from each column, ``m x (1 + 2R) x (h * columns)``.

        All columns in one line, the maps seen from another row are slices of these.
        """
        shifted = self.shifted[: len(prediction)]
        shifted[:, 0] = 1
        size = self.settings.region_size
        for j in range(size):
            shifted[:, 1 + j] = prediction[:, :, j : j + self.columns]
            shifted[:, 1 + size + j] = truth[:, :, j : j + self.columns]
        return shifted.flatten(2)

    def _rows(self, shifted: Tensor, first: int, number: int) -> Tensor:
        return shifted[:, :, first * self.columns : (first + number) * self.columns]

    def _second_moments(self, shifted: Tensor, kept: Tensor | None) -> Tensor:
        """Compute ``X X^T``, ``m x (1 + 2d) x (1 + 2d)``."""
        size = self.settings.region_size

        def product(i: int, j: int) -> Tensor:
            left = self._rows(shifted, i, self.rows)
            left = left if kept is None else left * kept
            return left @ self._rows(shifted, j, self.rows).mT

        change = self._row_change(shifted) if kept is None else None
        blocks = {}
        for i in range(size):
            for j in range(i, size):
                if i == 0 or change is None:
                    blocks[i, j] = product(i, j)
                else:
                    blocks[i, j] = blocks[i - 1, j - 1] + change[:, :, i - 1, :, j - 1]
                if i < j:
                    blocks[j, i] = blocks[i, j].mT
        sides = range(size)
        rows = [torch.stack([blocks[i, j] for j in sides], dim=2) for i in sides]
        joint = torch.stack(rows, dim=1).flatten(3).flatten(1, 2)
        return joint[:, self.order][:, :, self.order]

    def _row_change(self, shifted: Tensor) -> Tensor:
        """Compute how the product of two rows of regions differs from that of the next two.

        By the row of the map that enters, and the one that leaves.

        Returns:
            ``m x (1 + 2R) x (R - 1) x (1 + 2R) x (R - 1)``: lines and row of either side.
        """
        shape = shifted.shape[1], self.settings.region_size - 1
        lines = shifted.unflatten(2, (self.height, self.columns))
        entering, leaving = (
            part.flatten(1, 2) for part in (lines[:, :, self.rows :], lines[:, :, : shape[1]])
        )
        change = entering @ entering.mT - leaving @ leaving.mT
        return change.unflatten(2, shape).unflatten(1, shape)

    def _solve_moments(self, shifted: Tensor, kept: Tensor | None) -> tuple[_PointSolution, Tensor]:
        """Solve from second moments; the gradients are by the points, ``1/d T_P^T T X``."""
        d, size, lines = self.settings.dimension, self.settings.region_size, shifted.shape[1]
        moments = self._second_moments(shifted, None if kept is None else kept[:, None])
        count = moments[:, 0, 0].clone()
        covariance = _truth_covariance(moments, d)
        scale = self._scale(covariance, count)
        factor = torch.linalg.cholesky_ex(moments * scale + self.ridges.diag()).L
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1)[:, -d:].log().sum(dim=-1)
        bounds = log_diagonal / d - self.settings.floor

        identity = torch.eye(1 + 2 * d, dtype=factor.dtype, device=factor.device)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)[:, -d:]
        weights = whitening[:, :, 1 : 1 + d].mT @ whitening * (scale / d)
        by_row = weights.new_zeros(len(weights), d, size * lines)
        by_row[:, :, self.order] = weights
        grad_points = self.grad_points[: len(shifted)]
        for i, row_weights in enumerate(by_row.split(lines, dim=2)):
            points = self._rows(shifted, i, self.rows)
            grad_points.baddbmm_(row_weights, points, beta=int(i > 0))  # the first overwrites
        if kept is not None:
            grad_points.mul_(kept[:, None])
        if not self.with_scores:
            return _PointSolution(bounds, grad_points, None), count

        def log_volume(matrix: Tensor) -> Tensor:
            factor = torch.linalg.cholesky_ex(matrix / self.settings.ridge + identity[:d, :d]).L
            return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

        truth = covariance * scale
        scores = self._scores(bounds, log_volume(truth), log_volume(2 * truth))
        varies = _largest_diagonal(covariance) > LEAST_VARIANCE * _largest_diagonal(
            moments[:, -d:, -d:]
        )
        return _PointSolution(bounds, grad_points, scores.where(varies, torch.nan)), count

    def _solve_points(self, shifted: Tensor, kept: Tensor | None) -> tuple[_PointSolution, Tensor]:
        """Solve likewise from QR decompositions of points, the roots of the ridges among them."""
        d, size = self.settings.dimension, self.settings.region_size
        points = torch.cat([self._rows(shifted, i, self.rows) for i in range(size)], dim=1)
        points = points[:, self.order]
        truth = centre(points[:, -d:], kept)
        count = points.new_full((len(points),), self.count) if kept is None else kept.sum(dim=1)
        scale = covariance_scale(truth, kept, self.settings.covariance)
        points = points * scale.sqrt()
        if kept is not None:
            points = points * kept[:, None]
        roots = self.ridges.sqrt().diag().expand(len(points), -1, -1)
        regressors, residual = torch.cat([points, roots], dim=-1).split([1 + d, d], dim=1)

        orthogonal, factor = torch.linalg.qr(regressors.mT)
        regression = torch.zeros_like(residual[:, :, : 1 + d])
        for _ in range(2):  # a sharp map leaves so little that the first rounding must be corrected
            correction = torch.linalg.solve_triangular(
                factor, orthogonal.mT @ residual.mT, upper=True
            ).mT
            regression = regression + correction
            residual = residual - correction @ regressors

        factor = torch.linalg.qr(residual.mT).R
        bounds = _log_diagonal(factor) / d - self.settings.floor
        unexplained = residual[:, :, : self.count]
        for triangle, upper in ((factor.mT, False), (factor, True)):
            unexplained = torch.linalg.solve_triangular(triangle, unexplained, upper=upper)
        grad_points = regression[:, :, 1:].mT @ unexplained * (-scale.sqrt() / d)
        if not self.with_scores:
            return _PointSolution(bounds, grad_points, None), count

        def log_volume(points: Tensor) -> Tensor:
            joined = torch.cat([points / self.settings.ridge**0.5, identity], dim=-1)
            return 2 * _log_diagonal(torch.linalg.qr(joined.mT).R)

        identity = torch.eye(d, dtype=points.dtype, device=points.device).expand(
            len(points), -1, -1
        )
        scaled = truth * scale.sqrt()
        scores = self._scores(bounds, log_volume(scaled), log_volume(2**0.5 * scaled))
        varies = truth.square().sum(dim=-1).amax(dim=-1) > LEAST_VARIANCE * count
        return _PointSolution(bounds, grad_points, scores.where(varies, torch.nan)), count

    def _scale(self, covariance: Tensor, count: Tensor) -> Tensor:
        """Compute :func:`mmseg_rmi.functional.regions.covariance_scale` from sums of products."""
        if self.settings.covariance == 'sum':
            return torch.ones_like(count)[:, None, None]
        if self.settings.covariance == 'mean':
            return (1 / count.clamp(min=1))[:, None, None]
        variance = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
        varies = variance > LEAST_VARIANCE * count
        return torch.where(varies, 1 / variance, torch.zeros_like(variance))[:, None, None]

    def _scores(self, bounds: Tensor, unexplained: Tensor, doubled: Tensor) -> Tensor:
        """Compute ``region_score`` from ``log det(S_Y / xi + I)`` and ``log det(2 S_Y / xi + I)``.

        With P = Y, M is ``xi S_Y (S_Y + xi I)^-1``, and the matrices commute, so
        ``log det(M + xi I) = d log xi + log det(2 S_Y / xi + I) - log det(S_Y / xi + I)``.
        """
        explained = unexplained - 2 * self.settings.dimension * bounds
        return (explained / (2 * unexplained - doubled)).clamp(0, 1)

    def _overlap_add(self, grad_points: Tensor) -> Tensor:
        """Sum gradients by points, ``m x d x n``, over the places of each pixel: ``m x h x w``."""
        size = self.settings.region_size
        by_column = grad_points.new_zeros(len(grad_points), size, self.height * self.columns)
        for i, part in enumerate(grad_points.split(size, dim=1)):
            self._rows(by_column, i, self.rows).add_(part)
        total = grad_points.new_zeros(len(grad_points), self.height, self.columns + size - 1)
        for j, column in enumerate(by_column.unflatten(2, (self.height, -1)).unbind(1)):
            total[:, :, j : j + self.columns] += column
        return total


def _truth_covariance(moments: Tensor, dimension: int) -> Tensor:
    sums = moments[:, :1, -dimension:]
    return moments[:, -dimension:, -dimension:] - sums.mT @ sums / moments[:, :1, :1].clamp(min=1)


def _largest_diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).amax(dim=-1)


def _log_diagonal(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)


def _joint_order(size: int, device: torch.device) -> Tensor:
    """Return where the rows of X are among the lines of all rows of regions: ones, P, Y."""
    lines = 1 + 2 * size
    sides = torch.arange(size, device=device)
    place = sides[:, None] * lines + sides
    ones = torch.zeros(1, dtype=torch.long, device=device)
    return torch.cat([ones, (1 + place).flatten(), (1 + size + place).flatten()])
