"""The region term of Eq. 16 and its gradient, block of maps by block of maps.

Shapes: ``C`` classes, ``H x W`` input, ``h x w`` down-sampled, ``k`` maps in a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.closed_form import RegionSolution, RegionSolver
from mmseg_rmi.functional.downsampling import downsample
from mmseg_rmi.functional.pooling import Pooling
from mmseg_rmi.functional.regions import regions_without_ignored
from mmseg_rmi.functional.settings import RMISettings


class TrueRegions(NamedTuple):
    """What the labels of an image say of its regions.

    Attributes:
        maps: down-sampled one-hot maps, ``C x h x w``.
        present: whether a class must be visited; the others contribute nothing.
        kept: ``n``, boolean, the regions that count; None if all do.
        floor: what the bounds hold besides the solver's, scalar.
    """

    maps: Tensor
    present: list[bool]
    kept: Tensor | None
    floor: Tensor


class RegionTerm:
    """Sums bounds over classes, for images of one size.

    Args:
        settings: the constants of the objective.
        size: ``(H, W)`` of the maps.
        block: the largest number of maps in a block.
        dtype: float64 or float32, of all work after the down-sampling.
        device: of the maps.
        with_scores: whether to find scores as well.
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
        self.dtype = dtype
        # The one switch by which data shape the work: on where the host reads labels for free.
        self.skips_absent_classes = device.type == 'cpu'
        self.pooling = Pooling(settings.downsample, settings.downsample_factor, size)
        self.solver = RegionSolver(
            settings, self.pooling.pooled_size, block, dtype, device, with_scores
        )

    def read(
        self, channel: Tensor, has_channel: Tensor, valid: Tensor, classes: int
    ) -> TrueRegions:
        """Down-sample the labels of an image.

        Args:
            channel: ``H x W``, int64 in ``[0, C)``, the map that holds a pixel's one.
            has_channel: ``H x W``, boolean, whether any does.
            valid: ``H x W``, boolean.
            classes: C.
        """
        kept = None
        enough = valid.any() & (self.solver.count >= 2)
        if self.settings.ignored == 'exclude':
            ignored = (~valid).float()[None, None]
            cells = downsample(ignored, 'max', self.settings.downsample_factor)[0, 0] > 0
            kept = regions_without_ignored(cells, self.settings.region_size)
            enough = kept.sum() >= 2
        floor = 0.0 if self.settings.nonnegative else classes * self.settings.floor
        maps = self.pooling.one_hot(channel, has_channel, classes)
        present = [True] * classes
        if self.skips_absent_classes:
            present = maps.flatten(1).any(dim=1).tolist()
        return TrueRegions(maps, present, kept, floor * enough.to(self.dtype))

    def visit(self, probability: Tensor, truth: TrueRegions, block: slice) -> RegionSolution:
        """Solve for the classes of a block, at least one of them present.

        Args:
            probability: ``k x H x W``, 0 where ignored.
            truth: the image's regions.
            block: the classes of the maps.

        Returns:
            Bounds and scores of the classes present, and the gradients by the probabilities of all,
            ``k x H x W``.
        """
        maps, present = truth.maps[block], truth.present[block]
        if all(present):
            return self._visit_present(probability, maps, truth.kept)
        places = torch.tensor([place for place, here in enumerate(present) if here])
        solution = self._visit_present(probability[places], maps[places], truth.kept)
        gradients = torch.zeros_like(probability).index_copy_(0, places, solution.gradients)
        return solution._replace(gradients=gradients)

    def _visit_present(
        self, probability: Tensor, truth: Tensor, kept: Tensor | None
    ) -> RegionSolution:
        pooled, indices = self.pooling.forward(probability)
        bounds, gradients, scores = self.solver(pooled, truth, kept)
        if self.settings.nonnegative:
            bounds = bounds.clamp(min=0)  # below 0 by rounding alone
        gradients = self.pooling.adjoint(gradients.to(probability.dtype), indices)
        return RegionSolution(bounds, gradients, scores)
