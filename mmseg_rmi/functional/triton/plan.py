"""The sizes of a call: of tiles, maps in memory, slabs, lags and grids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import triton

from mmseg_rmi.functional.contract import Parameters
from mmseg_rmi.functional.downsampling import pooled_side
from mmseg_rmi.functional.triton.support import INTERPRETED

PIXELS = 1024  # in a tile, eight for each thread
SLAB_CELLS = 4096  # of a map, correlated apart
LARGEST_SLAB = 2**15 - 1  # so many products of at most 2^48 add up in an int64
MANY_SLABS = 32  # as keep a GPU busy; more of them only take memory
LAG_BLOCK = 64 if INTERPRETED else 8  # the interpreter's time goes by the number of operations
BLOCK = 128
WIDE_BLOCK = 1024


@dataclass(frozen=True)
class Plan:
    """Sizes that follow from the shapes of a call and its constants.

    Args:
        logits: shape, ``(B, C, H', W')``.
        size: ``(H, W)`` of the labels.
        parameters: the constants of the call.

    Example:
        >>> from mmseg_rmi.functional.settings import RMISettings
        >>> plan = Plan((16, 21, 513, 513), (513, 513), Parameters(RMISettings()))
        >>> plan.map_size, plan.cells, plan.tiles
        ((129, 129), 17161, 269)
    """

    logits: tuple[int, ...]
    size: tuple[int, ...]
    parameters: Parameters

    @cached_property
    def region(self) -> bool:
        """Whether there is a region term."""
        return self.parameters.settings.loss_lambda < 1

    @cached_property
    def exclude(self) -> bool:
        """Whether regions are left out."""
        return self.region and self.parameters.settings.ignored == 'exclude'

    @cached_property
    def softmax(self) -> bool:
        """Whether the region term takes softmax maps."""
        return self.region and self.parameters.settings.activation == 'softmax'

    @cached_property
    def cross_entropy(self) -> bool:
        """Whether the pixel term is softmax cross entropy."""
        return self.parameters.settings.pixel_term == 'ce'

    @cached_property
    def normalizes(self) -> bool:
        """Whether the log-sum-exp of the logits is needed."""
        return self.softmax or self.cross_entropy

    @cached_property
    def takes_maximum(self) -> bool:
        """Whether cells are pooled to their greatest pixel."""
        settings = self.parameters.settings
        return self.region and settings.downsample == 'max' and settings.downsample_factor > 1

    @cached_property
    def streamed(self) -> bool:
        """Whether logits are upsampled on the way."""
        return tuple(self.logits[2:]) != tuple(self.size)

    @cached_property
    def factor(self) -> int:
        """DF; cells are pixels if there is no region term."""
        return self.parameters.settings.downsample_factor if self.region else 1

    @cached_property
    def padding(self) -> int:
        """How far the first cells reach beyond the border."""
        return self.factor // 2 if self.factor > 1 else 0

    @cached_property
    def region_size(self) -> int:
        """R."""
        return self.parameters.settings.region_size if self.region else 1

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """``(h, w)``."""
        height, width = (pooled_side(side, 'avg', self.factor) for side in self.size)
        return height, width

    @cached_property
    def margin(self) -> int:
        """Columns and rows after a map: zeros, and cells that pooling leaves out."""
        return max(self.region_size - 1, int(self.factor > 1))

    @cached_property
    def cell_columns(self) -> int:
        """Columns of a map in memory."""
        return self.map_size[1] + self.margin

    @cached_property
    def cells(self) -> int:
        """Cells of a map in memory."""
        return (self.map_size[0] + self.margin) * self.cell_columns

    @cached_property
    def regions(self) -> int:
        """n, how many regions a map has."""
        height, width = (side - self.region_size + 1 for side in self.map_size)
        return height * width

    @cached_property
    def side(self) -> int:
        """Rows and columns of a cell in a tile, a power of two."""
        return triton.next_power_of_2(self.factor)

    @cached_property
    def tile_cells(self) -> int:
        """Cells in a tile: as many as registers hold."""
        pixels = PIXELS // 2 if self.streamed else PIXELS
        return max(pixels // self.side**2, BLOCK // self.side)

    @cached_property
    def tiles(self) -> int:
        """Tiles in an image."""
        return triton.cdiv(self.cells, self.tile_cells)

    @cached_property
    def slabs(self) -> int:
        """Parts of a map that are correlated apart."""
        return triton.cdiv(self.cells, self.slab_cells)

    @cached_property
    def slab_cells(self) -> int:
        """Cells of such a part."""
        return min(max(SLAB_CELLS, triton.cdiv(self.cells, MANY_SLABS)), LARGEST_SLAB)

    @cached_property
    def parts(self) -> int:
        """Programs of :func:`.kernels.correlate` for a map and a chunk of lags."""
        places = self.region_size**2
        return places * self.slabs if self.exclude else places + self.slabs

    @cached_property
    def reach(self) -> int:
        """Elements before and after all maps that are read as neighbours of their cells."""
        return (self.region_size + LAG_BLOCK) * self.cell_columns + WIDE_BLOCK

    @cached_property
    def lags(self) -> int:
        """Lags of which no two are opposite."""
        return ((2 * self.region_size - 1) ** 2 + 1) // 2

    @cached_property
    def lag_block(self) -> int:
        """Lags at once."""
        return LAG_BLOCK if self.lags > 1 else 1

    @cached_property
    def border(self) -> tuple[int, int, int]:
        """Rows above, rows below and columns at either side of the cells that all regions hold."""
        edge = self.region_size - 1
        if self.exclude or min(self.map_size) <= 2 * edge:
            return self.map_size[0], 0, 0
        return edge, edge, edge

    @cached_property
    def scales(self) -> tuple[float, float]:
        """Low-resolution pixels per pixel."""
        scale_h, scale_w = (
            self._scale(low, side) for low, side in zip(self.logits[2:], self.size, strict=True)
        )
        return scale_h, scale_w

    @cached_property
    def stretches(self) -> tuple[float, float]:
        """Pixels per low-resolution pixel."""
        stretch_h, stretch_w = (
            1 / scale if scale > 0 else float(side)
            for scale, side in zip(self.scales, self.size, strict=True)
        )
        return stretch_h, stretch_w

    def _scale(self, low: int, side: int) -> float:
        if not self.parameters.align_corners:
            return low / side
        return (low - 1) / (side - 1) if side > 1 else 0.0

    @cached_property
    def tile_options(self) -> dict[str, int | bool]:
        """Constants of the kernels that work on tiles of pixels."""
        return dict(
            FACTOR=self.factor,
            PADDING=self.padding,
            SIDE=self.side,
            CELLS=self.tile_cells,
            MAX=self.takes_maximum,
        )
