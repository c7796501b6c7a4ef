"""Down-sampling with its adjoint, for code that differentiates by hand.

The maps are those of :mod:`mmseg_rmi.functional.downsampling`. ``k`` maps, ``H x W`` pixels,
``h x w`` cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional.downsampling import downsample, pooled_side


class Pooling:
    """One way of down-sampling maps of one size.

    Args:
        method: ``'avg'``, ``'max'`` or ``'interp'``.
        factor: DF.
        size: ``(H, W)`` of the maps.

    Example:
        >>> pooling = Pooling('avg', 2, (4, 4))
        >>> pooled, _ = pooling.forward(torch.ones(1, 4, 4))
        >>> pooled[0]  # three cells a side: the outer ones are partly padding
        tensor([[0.2500, 0.5000, 0.2500],
                [0.5000, 1.0000, 0.5000],
                [0.2500, 0.5000, 0.2500]])
    """

    def __init__(self, method: str, factor: int, size: tuple[int, int]) -> None:
        self.method = method
        self.factor = factor
        self.size = size
        self.pooled_size = (
            pooled_side(size[0], method, factor),
            pooled_side(size[1], method, factor),
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Down-sample ``k x H x W`` to ``k x h x w``; also what :meth:`adjoint` needs."""
        if self.factor == 1:
            return maps, None
        if self.method == 'avg':
            sums = _sum_cells(_sum_cells(maps, -2, self.factor), -1, self.factor)
            return sums.div_(self.factor**2), None
        if self.method == 'max':
            return F.max_pool2d(
                maps, self.factor, self.factor, self.factor // 2, return_indices=True
            )
        return downsample(maps.unsqueeze(0), self.method, self.factor).squeeze(0), None

    def adjoint(self, gradient: Tensor, indices: Tensor | None) -> Tensor:
        """Gradient by the maps, ``k x H x W``, from that by the down-sampled ones.

        Args:
            gradient: ``k x h x w``.
            indices: what :meth:`forward` returned with the down-sampled maps.
        """
        if self.factor == 1:
            return gradient
        if self.method == 'avg':
            padded = F.pad(gradient / self.factor**2, (0, 1, 0, 1))  # no cell: gradient 0
            rows, columns = self.cells(gradient.device)
            return padded.index_select(-1, columns).index_select(-2, rows)
        if indices is not None:
            full = gradient.new_zeros(len(gradient), self.size[0] * self.size[1])
            full.scatter_(1, indices.flatten(1), gradient.flatten(1))
            return full.unflatten(1, self.size)
        size = [1, len(gradient), *self.size]
        return torch.ops.aten.upsample_bilinear2d_backward(
            gradient.unsqueeze(0), list(self.pooled_size), size, True
        ).squeeze(0)

    def one_hot(self, channel: Tensor, has_channel: Tensor, channels: int) -> Tensor:
        """Down-sampled one-hot maps, ``C x h x w`` in float32, from counts of labels in cells.

        Args:
            channel: ``H x W``, int64 in ``[0, C)``.
            has_channel: ``H x W``, boolean, whether the pixel belongs to any channel.
            channels: C.
        """
        if self.method == 'interp' and self.factor > 1:
            channel = _nearest(channel, self.pooled_size)
            has_channel = _nearest(has_channel, self.pooled_size)
            height, width = self.pooled_size
            rows, columns = (torch.arange(s, device=channel.device) for s in self.pooled_size)
        else:
            height, width = (side + 1 for side in self.pooled_size)
            rows, columns = self.cells(channel.device)
        places = channel * (height * width) + rows[:, None] * width + columns
        counts = torch.zeros(channels * height * width, device=channel.device)
        counts.scatter_add_(0, places.flatten(), has_channel.flatten().float())
        counts = counts.reshape(channels, height, width)
        counts = counts[:, : self.pooled_size[0], : self.pooled_size[1]]
        if self.method == 'max':
            return (counts > 0).float()
        return counts / self.factor**2 if self.method == 'avg' else counts

    def cells(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Row of cells of each row of pixels, and likewise for columns; h and w mean none."""
        offset = 0 if self.factor == 1 else self.factor // 2
        rows, columns = (
            ((torch.arange(side, device=device) + offset) // self.factor).clamp_(max=pooled)
            for side, pooled in zip(self.size, self.pooled_size, strict=True)
        )
        return rows, columns


def _sum_cells(maps: Tensor, dim: int, factor: int) -> Tensor:
    """Sum runs of DF rows (dim -2) or columns (dim -1), padded by DF // 2 zeros at both ends."""
    side = maps.shape[dim]
    padding = factor // 2
    missing = pooled_side(side, 'avg', factor) * factor - padding - side
    maps = F.pad(maps, (padding, missing) if dim == -1 else (0, 0, padding, missing))
    runs = maps.unflatten(dim, (-1, factor))
    return runs.sum(dim=dim) if dim == -2 else sum(runs.unbind(dim))


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(values[None, None].double(), size=size, mode='nearest')
    return resized[0, 0].to(values.dtype)
