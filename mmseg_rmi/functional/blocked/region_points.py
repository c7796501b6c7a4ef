"""The points of a block of maps in reused memory, with their second moments and their adjoint.

X stacks a row of ones, the prediction's points P and the truth's points Y. Points of neighbouring
regions are largely the same pixels, so where all regions count, sums over them are taken row by
row of the maps (:class:`RegionRows`), with X never written out.

Shapes: ``m`` maps of ``h x w``; ``rows x columns`` regions, ``n`` in all, of ``d = R * R`` pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class RegionPoints:
    """Holds X, ``m x (1 + 2d) x n``, 0 where a region does not count.

    Args:
        region_size: R.
        size: ``(h, w)``.
        maps: the largest m.
        dtype: of the points.
        device: of the maps.

    Example:
        >>> points = RegionPoints(2, (3, 4), 1, torch.float32, torch.device('cpu'))
        >>> points.load(torch.rand(1, 3, 4), torch.ones(1, 3, 4))
        >>> points.second_moments().shape, points.gradients(torch.rand(1, 4, 9)).shape
        (torch.Size([1, 9, 9]), torch.Size([1, 3, 4]))
    """

    def __init__(
        self,
        region_size: int,
        size: tuple[int, int],
        maps: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.region_size, self.size = region_size, size
        self.rows, self.columns = (side - region_size + 1 for side in size)
        self.memory = torch.empty(
            (maps, 1 + 2 * region_size**2, self.rows, self.columns), dtype=dtype, device=device
        )
        self.points = self.memory.flatten(2)

    @staticmethod
    def bytes_per_map(region_size: int, size: tuple[int, int], itemsize: int) -> int:
        """Return the memory for the points of one map."""
        return (1 + 2 * region_size**2) * size[0] * size[1] * itemsize

    def load(self, prediction: Tensor, truth: Tensor, kept: Tensor | None = None) -> None:
        """Cast ``m x h x w`` maps into points; kept, ``m x n``, marks those that count."""
        memory = self.memory[: len(prediction)]
        memory[:, 0] = 1
        for side, maps in zip(memory[:, 1:].chunk(2, dim=1), (prediction, truth), strict=True):
            places = side.unflatten(1, (self.region_size, self.region_size))
            places.copy_(maps.unfold(1, self.rows, 1).unfold(2, self.columns, 1))
        self.points = memory.flatten(2)
        if kept is not None:
            self.points *= kept[:, None]

    def second_moments(self) -> Tensor:
        """Compute ``X X^T``, ``m x (1 + 2d) x (1 + 2d)``."""
        return self.points @ self.points.mT

    def gradients(self, weights: Tensor) -> Tensor:
        """Return what ``weights @ X``, the gradient by P, is by the maps, ``m x h x w``."""
        return self.overlap_add(weights @ self.points)

    def overlap_add(self, grad_points: Tensor) -> Tensor:
        """Sum ``m x d x n`` over the places that a pixel has in regions, ``m x h x w``."""
        return F.fold(grad_points, self.size, self.region_size)[:, 0]


class RegionRows:
    """Holds the maps seen from every column of a region, row by row of the maps.

    A row has ``1 + 2R`` lines, ones and R of either map, of as many pixels as there are columns of
    regions, so R rows in a row are X of a row of regions. Takes the arguments of
    :class:`RegionPoints`.

    Example:
        >>> rows = RegionRows(2, (3, 4), 1, torch.float32, torch.device('cpu'))
        >>> rows.load(torch.rand(1, 3, 4), torch.ones(1, 3, 4))
        >>> rows.second_moments().shape, rows.gradients(torch.rand(1, 4, 9)).shape
        (torch.Size([1, 9, 9]), torch.Size([1, 3, 4]))
    """

    def __init__(
        self,
        region_size: int,
        size: tuple[int, int],
        maps: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.region_size, (self.height, self.width) = region_size, size
        self.rows, self.columns = (side - region_size + 1 for side in size)
        self.lines, self.reach = 1 + 2 * region_size, region_size - 1
        # Rows before and after those of the maps are read with weight 0, so they must be finite.
        self.memory = torch.zeros(
            (maps * self.height + 2 * self.reach, self.lines, self.columns),
            dtype=dtype,
            device=device,
        )
        self.memory[:, 0] = 1
        self.loaded = self.memory
        self.order = _joint_order(region_size, device)

    @staticmethod
    def bytes_per_map(region_size: int, size: tuple[int, int], itemsize: int) -> int:
        """Return the memory for the rows of one map, and for their gradient."""
        return (1 + 3 * region_size) * size[0] * size[1] * itemsize

    def load(self, prediction: Tensor, truth: Tensor) -> None:
        """Take in ``m x h x w`` maps, of which all regions count."""
        self.loaded = self.memory[: len(prediction) * self.height + 2 * self.reach]
        self.loaded[len(self.loaded) - self.reach :, 1:] = 0
        by_map = self._inner().unflatten(0, (-1, self.height))
        for side, maps in zip(by_map[:, :, 1:].chunk(2, dim=2), (prediction, truth), strict=True):
            side.copy_(maps.unfold(2, self.columns, 1))

    def second_moments(self) -> Tensor:
        """Compute ``X X^T``, ``m x (1 + 2d) x (1 + 2d)``.

        From the products of every row and the R - 1 after it: those of places i and j >= i of
        regions are those of ``rows`` rows, from the i-th on, with the row j - i after each.
        """
        size = self.region_size
        products = self._inner() @ self._windows(self.reach, size).mT
        products = products.unflatten(2, (size, -1)).unflatten(0, (-1, self.height))
        blocks = {}
        for i in range(size):
            sums = products[:, i : i + self.rows].sum(dim=1)
            for j in range(i, size):
                blocks[i, j] = sums[:, :, j - i]
                blocks[j, i] = blocks[i, j].mT
        sides = range(size)
        joint = torch.cat([torch.cat([blocks[i, j] for j in sides], dim=2) for i in sides], dim=1)
        return joint[:, self.order][:, :, self.order]

    def gradients(self, weights: Tensor) -> Tensor:
        """Return what ``weights @ X``, the gradient by P, is by the maps, ``m x h x w``.

        A row of pixels is row i of the region that begins i rows above. So its gradient is a sum
        over rows k of X, the row k - i below, and R - 1 rows either way hold all it depends on.
        """
        size, maps = self.region_size, len(weights)
        by_place = weights.new_zeros(maps, size, size, size * self.lines)
        by_place.flatten(1, 2)[:, :, self.order] = weights
        by_place = by_place.unflatten(3, (size, self.lines))  # m x i x column x k x line
        of_rows = weights.new_zeros(maps, self.height, size, 2 * size - 1, self.lines)
        for i in range(size):
            below = slice(self.reach - i, self.reach - i + size)
            of_rows[:, i : i + self.rows, :, below] += by_place[:, None, i]
        windows = self._windows(0, 2 * size - 1)
        by_column = of_rows.flatten(3).flatten(0, 1) @ windows
        total = by_column.new_zeros(len(by_column), self.width)
        for j in range(size):
            total[:, j : j + self.columns] += by_column[:, j]
        return total.unflatten(0, (maps, self.height))

    def _inner(self) -> Tensor:
        """Return the rows of the maps, ``(m h) x lines x columns``."""
        return self.loaded[self.reach : len(self.loaded) - self.reach]

    def _windows(self, first: int, rows: int) -> Tensor:
        """Return every row from the first on with those after it, ``.. x (rows lines) x columns``.

        A view: neighbours share their memory.
        """
        return self.loaded[first:].unfold(0, rows, 1).permute(0, 3, 1, 2).flatten(1, 2)


def _joint_order(size: int, device: torch.device) -> Tensor:
    """Return where the rows of X are among the lines of all rows of regions: ones, P, Y."""
    lines = 1 + 2 * size
    sides = torch.arange(size, device=device)
    place = sides[:, None] * lines + sides
    ones = torch.zeros(1, dtype=torch.long, device=device)
    return torch.cat([ones, (1 + place).flatten(), (1 + size + place).flatten()])
