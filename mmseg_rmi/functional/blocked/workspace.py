"""How the work of a batch is split, and the memory that its parts use one after the other.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits; ``N`` images in a chunk,
``k`` classes in a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.blocked.interpolation import bilinear_into
from mmseg_rmi.functional.blocked.pooling import Pooling
from mmseg_rmi.functional.blocked.region_solver import RegionSolver
from mmseg_rmi.functional.blocked.softplus_sum import LARGEST_PRODUCT, SoftplusSum
from mmseg_rmi.functional.contract import Parameters, working_dtype
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.utils.tracing import has_values, is_compiling

# Working memory for the maps, and for the points, of one block; one map is always allowed. A CPU's
# fits its cache, and is allocated once a batch: fresh memory costs more than most of the work done
# in it. A GPU wants few large calls, and takes as many images at once as fit.
BLOCK_BYTES = {'cpu': (2 << 20, 9 << 19), 'cuda': (1 << 30, 1 << 30)}


def split_work(
    batch: int, classes: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[int, int]:
    """Return how many images make a chunk, and how many classes a block.

    Example:
        >>> split_work(4, 21, 513, 513, torch.float32, torch.device('cpu'))
        (1, 1)
    """
    fitting = _budget(device)[0] // (2 * height * width * dtype.itemsize)  # maps
    block = max(1, min(fitting, LARGEST_PRODUCT, classes))
    images = 1 if device.type == 'cpu' else max(1, min(fitting // classes, batch))
    return images, block


def _budget(device: torch.device) -> tuple[int, int]:
    return BLOCK_BYTES.get(device.type, BLOCK_BYTES['cuda'])


def host_can_read(tensor: Tensor) -> bool:
    """Tell whether data may shape the work: where the host reads it for free."""
    return tensor.device.type == 'cpu' and not is_compiling() and has_values(tensor)


class Scale(NamedTuple):
    """Settings, pooling and solver of one downsampling factor."""

    settings: RMISettings
    pooling: Pooling
    solver: RegionSolver


class Workspace:
    """Memory that chunks of images use one after the other, and what depends on sizes alone.

    Args:
        logits: ``B x C x H' x W'``.
        labels: ``B x H x W``.
        parameters: the constants of the call.

    Attributes:
        chunks: of images, as slices of the batch.
        blocks: of classes, as slices of a chunk.
        activation: of the region term.
        pixel_activation: of the pixel-wise term.
        scales: of the region term; none if lambda is 1.
    """

    def __init__(self, logits: Tensor, labels: Tensor, parameters: Parameters) -> None:
        settings, device = parameters.settings, logits.device
        batch, classes, *low = logits.shape
        height, width = labels.shape[1:]
        self.parameters, self.settings = parameters, settings
        self.dtype = working_dtype(logits)
        self.pixel_activation = 'sigmoid' if settings.pixel_term == 'bce' else 'softmax'
        scales = parameters.scales
        self.activation = settings.activation if scales else self.pixel_activation
        self.up_samples = [height, width] != low
        images, block = split_work(batch, classes, height, width, self.dtype, device)
        self.blocks = [slice(i, min(i + block, classes)) for i in range(0, classes, block)]
        self.chunks = [slice(i, min(i + images, batch)) for i in range(0, batch, images)]

        def memory(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=self.dtype, device=device)

        self._full = memory(images, classes, height, width) if self.up_samples else None
        self._scratch = memory(images, block, height, width)
        self._addend = torch.empty_like(self._scratch) if len(scales) > 1 else None
        self.softplus_sum = SoftplusSum(self._scratch)
        self.scales = []
        for scale in scales:
            pooling = Pooling(scale.downsample, scale.downsample_factor, (height, width), device)
            solver = RegionSolver(
                scale,
                pooling.pooled_size,
                images * classes,
                _budget(device)[1] // len(scales),
                parameters.region_dtype,
                device,
                with_scores=parameters.with_score,
            )
            self.scales.append(Scale(scale, pooling, solver))

    @property
    def mixes(self) -> bool:
        """Whether one term takes a sigmoid and the other a softmax."""
        return self.activation != self.pixel_activation

    def scratch_like(self, maps: Tensor) -> Tensor:
        """Return memory for a block of maps, which any other call may overwrite."""
        return self._scratch[: len(maps), : maps.shape[1]]

    def addend_like(self, maps: Tensor) -> Tensor:
        """Return as much memory beside that of :meth:`scratch_like`; there if scales add up."""
        assert self._addend is not None
        return self._addend[: len(maps), : maps.shape[1]]

    def up_sample(self, logits: Tensor) -> Tensor:
        """Return a chunk's logits of full resolution."""
        if self._full is None:
            return logits
        full = self._full[: len(logits)]
        bilinear_into(full, logits, self.parameters.align_corners)
        return full

    def gradient_of(self, full: Tensor, gradient: Tensor) -> Tensor:
        """Return where to write the gradient by ``full``: over upsampled logits if they allow."""
        if not self.up_samples:
            return gradient
        return torch.empty_like(full) if self.mixes else full
