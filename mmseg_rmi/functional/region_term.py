"""The region term of Eq. 16 and its gradient, for one image after the other.

Shapes: ``C`` classes, ``H x W`` input, ``h x w`` down-sampled, ``k`` maps in a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.closed_form import RegionSolver
from mmseg_rmi.functional.pooling import Pooling
from mmseg_rmi.functional.regions import kept_regions
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.utils.tracing import is_compiling


class TrueRegions(NamedTuple):
    """What the labels of an image say of its regions.

    Attributes:
        maps: down-sampled one-hot maps, ``C x h x w``.
        present: the classes to visit, ascending; the others contribute nothing.
        kept: ``n``, boolean, the regions that count; None if all do.
        floor: what the bounds hold besides the solver's, scalar.
    """

    maps: Tensor
    present: list[int]
    kept: Tensor | None
    floor: Tensor

    def shows(self, block: slice) -> bool:
        """Whether any class of a block must be visited."""
        return any(block.start <= label < block.stop for label in self.present)


class RegionTerm:
    """Collects an image's probabilities, down-sampled, and solves for all of its classes.

    Args:
        settings: the constants of the objective.
        size: ``(H, W)`` of the maps.
        classes: C.
        block_bytes: memory for the points of a block of maps.
        dtype: float32 or float64, of maps and gradients between the full resolution and the solver.
        region_dtype: float64 or float32, of the solver's work.
        device: of the maps.
        with_scores: whether to find scores as well.
    """

    def __init__(
        self,
        settings: RMISettings,
        size: tuple[int, int],
        classes: int,
        *,
        block_bytes: int,
        dtype: torch.dtype,
        region_dtype: torch.dtype,
        device: torch.device,
        with_scores: bool = False,
    ) -> None:
        self.settings = settings
        self.region_dtype = region_dtype
        # The one switch by which data shape the work: on where the host reads labels for free.
        self.skips_absent_classes = device.type == 'cpu' and not is_compiling()
        self.pooling = Pooling(settings.downsample, settings.downsample_factor, size, device)
        self.pooled = torch.empty(classes, *self.pooling.pooled_size, dtype=dtype, device=device)
        self.gradients = torch.empty_like(self.pooled)
        self.indices: dict[int, Tensor | None] = {}
        self.solver = RegionSolver(
            settings,
            self.pooling.pooled_size,
            classes,
            block_bytes,
            region_dtype,
            device,
            with_scores,
        )

    def read(self, channel: Tensor, one: Tensor, valid: Tensor) -> TrueRegions:
        """Down-sample the labels of an image.

        Args:
            channel: ``H x W``, int64 in ``[0, C)``, the map that holds a pixel's one.
            one: ``H x W``, boolean, whether any does.
            valid: ``H x W``, boolean.
        """
        kept = kept_regions(valid, self.settings)
        enough = valid.any() & (self.solver.count >= 2) if kept is None else kept.sum() >= 2
        classes = len(self.pooled)
        floor = 0.0 if self.settings.nonnegative else classes * self.settings.floor
        maps = self.pooling.one_hot(channel, one, classes, self.pooled.dtype)
        present = list(range(classes))
        if self.skips_absent_classes:
            present = maps.flatten(1).any(dim=1).nonzero().flatten().tolist()
        return TrueRegions(maps, present, kept, floor * enough.to(self.region_dtype))

    def collect(self, probability: Tensor, first: int) -> None:
        """Take in the maps of a block, ``k x H x W``, 0 where ignored, from class ``first`` on."""
        pooled, self.indices[first] = self.pooling.forward(probability)
        self.pooled[first : first + len(pooled)] = pooled

    def solve(self, truth: TrueRegions, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        """Solve for the classes taken in.

        Args:
            truth: the image's regions.
            scale: scalar, factor of the gradient that :meth:`times_gradient` then takes.

        Returns:
            The sum of ``-I_l`` over the classes, and the scores of those present.
        """
        bounds, scores = truth.floor, []
        self.gradients.zero_()
        for start in range(0, len(truth.present), self.solver.block):
            block = _places(truth.present[start : start + self.solver.block])
            solution = self.solver(self.pooled[block], truth.maps[block], truth.kept)
            self.gradients[block] = (solution.gradients * scale).to(self.gradients.dtype)
            if solution.scores is not None:
                scores.append(solution.scores)
            positive = solution.bounds.clamp(min=0)  # below 0 by rounding alone
            bounds = bounds + (positive if self.settings.nonnegative else solution.bounds).sum()
        return bounds, torch.cat(scores) if scores else None

    def times_gradient(self, maps: Tensor, first: int) -> Tensor:
        """Multiply maps by the scaled gradient by the probabilities that were taken in.

        Args:
            maps: ``k x H x W``, of a block that :meth:`collect` took in; changed in place.
            first: the block's first class.
        """
        gradients = self.gradients[first : first + len(maps)]
        return self.pooling.times_adjoint(maps, gradients, self.indices[first])


def _places(present: list[int]) -> slice | list[int]:
    """Index of classes; a slice if none is left out, for a GPU would wait for a list."""
    first, last = present[0], present[-1]
    return slice(first, last + 1) if last - first < len(present) else present
