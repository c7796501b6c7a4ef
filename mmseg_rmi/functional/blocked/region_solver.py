"""The region term of downsampled maps, solved block by block in reused memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.closed_form import solve_moments
from mmseg_rmi.functional.blocked.region_points import RegionPoints, RegionRows
from mmseg_rmi.functional.blocked.square_root import solve_points
from mmseg_rmi.functional.regions import least_ridge
from mmseg_rmi.functional.settings import RMISettings


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


class RegionSolver:
    """Computes bounds and gradients of downsampled maps.

    Args:
        settings: the constants of the loss.
        size: ``(h, w)`` of the downsampled maps.
        maps: the most there are at once; ``block`` of them have their points in memory.
        block_bytes: memory for these points.
        dtype: float64, or float32, in which factors come from QR decompositions (see
            :mod:`.square_root`).
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
        self.with_scores = with_scores
        self.dtype = dtype
        region_size = settings.region_size
        self.count = (size[0] - region_size + 1) * (size[1] - region_size + 1)
        self.squares_moments = dtype == torch.float64 and settings.ridge > least_ridge(
            settings.covariance, self.count
        )
        by_row = self.squares_moments and settings.ignored == 'zero'
        kind = RegionRows if by_row else RegionPoints
        fitting = block_bytes // kind.bytes_per_map(region_size, size, dtype.itemsize)
        self.block = max(1, min(maps, fitting))
        self.points = kind(region_size, size, self.block, dtype, device)

    def __call__(
        self, prediction: Tensor, truth: Tensor, kept: Tensor | None = None
    ) -> RegionSolution:
        """Solve for maps.

        Args:
            prediction: downsampled p, ``m x h x w``, m at least 1.
            truth: downsampled y, ``m x h x w``.
            kept: ``m x n``, boolean, the regions that count; all by default.

        Returns:
            Bounds and scores of the solver's type, gradients of the prediction's; bounds and
            gradients are 0 if fewer than two regions count.
        """
        starts = range(0, len(prediction), self.block)
        blocks = [
            tuple(
                each[i : i + self.block] for each in (prediction, truth, kept) if each is not None
            )
            for i in starts
        ]
        gradients = torch.empty_like(prediction)
        solve = self._solve_moments if self.squares_moments else self._solve_points
        bounds, scores = solve(blocks, gradients.split(self.block))
        return RegionSolution(bounds, gradients, scores)

    def _solve_moments(
        self, blocks: list[tuple[Tensor, ...]], gradients: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor | None]:
        found = []
        for block in blocks:
            self.points.load(*block)
            found.append(self.points.second_moments())
        moments = torch.cat(found)
        bounds, weights, scores = solve_moments(moments, self.settings, self.with_scores)
        enough = moments[:, 0, 0] >= 2
        weights = weights * enough[:, None, None]
        weights_of_blocks = weights.split(self.block)
        for place in reversed(range(len(blocks))):
            if place < len(blocks) - 1:  # the last one is still loaded
                self.points.load(*blocks[place])
            gradients[place].copy_(self.points.gradients(weights_of_blocks[place]))
        return bounds * enough, scores

    def _solve_points(
        self, blocks: list[tuple[Tensor, ...]], gradients: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor | None]:
        assert isinstance(self.points, RegionPoints)
        bounds, scores = [], []
        for block, out in zip(blocks, gradients, strict=True):
            self.points.load(*block)
            points, kept = self.points.points, block[2] if len(block) > 2 else None
            solution = solve_points(points, kept, self.settings, self.with_scores)
            enough = points[:, 0].sum(dim=1) >= 2
            bounds.append(solution.bounds * enough)
            if solution.scores is not None:
                scores.append(solution.scores)
            out.copy_(self.points.overlap_add(solution.grad_points * enough[:, None, None]))
        return torch.cat(bounds), torch.cat(scores) if scores else None
