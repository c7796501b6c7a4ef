"""Down-sampling with its adjoint, for code that differentiates by hand and reuses its memory.

The maps are those of :mod:`mmseg_rmi.functional.downsampling`. ``k`` maps, ``H x W`` pixels,
``h x w`` cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional.downsampling import downsample, pooled_side
from mmseg_rmi.functional.interpolation import bilinear_adjoint


class Pooling:
    """One way of down-sampling maps of one size.

    Args:
        method: ``'avg'``, ``'max'`` or ``'interp'``.
        factor: DF.
        size: ``(H, W)`` of the maps.
        device: of the maps.

    Example:
        >>> pooling = Pooling('avg', 2, (4, 4), torch.device('cpu'))
        >>> pooled, _ = pooling.forward(torch.ones(1, 4, 4))
        >>> pooled[0]  # three cells a side: the outer ones are partly padding
        tensor([[0.2500, 0.5000, 0.2500],
                [0.5000, 1.0000, 0.5000],
                [0.2500, 0.5000, 0.2500]])
    """

    def __init__(
        self, method: str, factor: int, size: tuple[int, int], device: torch.device
    ) -> None:
        self.method = method
        self.factor = factor
        self.padding = 0 if factor == 1 else factor // 2
        self.size = size
        self.pooled_size = (
            pooled_side(size[0], method, factor),
            pooled_side(size[1], method, factor),
        )
        # The cell of each row and column of pixels; h and w stand for none.
        self.rows, self.columns = (
            ((torch.arange(side, device=device) + self.padding) // factor).clamp_(max=pooled)
            for side, pooled in zip(size, self.pooled_size, strict=True)
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Down-sample ``k x H x W`` to ``k x h x w``; also what :meth:`adjoint` needs."""
        if self.factor == 1:
            return maps, None
        if self.method == 'avg':
            return self._average(maps), None
        if self.method == 'max':
            return F.max_pool2d(maps, self.factor, self.factor, self.padding, return_indices=True)
        return downsample(maps.unsqueeze(0), self.method, self.factor).squeeze(0), None

    def times_adjoint(self, maps: Tensor, gradient: Tensor, indices: Tensor | None) -> Tensor:
        """Multiply maps, in place, by the gradient that down-sampled maps hand back to pixels.

        Args:
            maps: ``k x H x W``.
            gradient: by the down-sampled maps, ``k x h x w``.
            indices: what :meth:`forward` returned with these.
        """
        if self.factor == 1:
            return maps.mul_(gradient)
        if self.method == 'avg':
            padded = F.pad(gradient / self.factor**2, (0, 1, 0, 1))  # no cell: gradient 0
            wide = padded.index_select(-1, self.columns)
            for offset in range(self.factor):
                cell = (offset + self.padding) // self.factor
                part = maps[:, offset :: self.factor]
                part *= wide[:, cell : cell + part.shape[1]]
            return maps
        if indices is not None:
            full = torch.zeros_like(maps).flatten(1)
            full.scatter_(1, indices.flatten(1), gradient.flatten(1))
            return maps.mul_(full.view_as(maps))
        return maps.mul_(bilinear_adjoint(gradient, self.size, align_corners=True))

    def one_hot(self, channel: Tensor, one: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
        """Down-sampled one-hot maps, ``C x h x w``, from counts of labels in cells.

        Args:
            channel: ``H x W``, int64 in ``[0, C)``.
            one: ``H x W``, boolean, whether the pixel belongs to any channel.
            channels: C.
            dtype: of the maps.
        """
        rows, columns = self.rows, self.columns
        height, width = (side + 1 for side in self.pooled_size)
        if self.method == 'interp' and self.factor > 1:
            channel, one = (_nearest(values, self.pooled_size) for values in (channel, one))
            rows, columns = (torch.arange(s, device=channel.device) for s in self.pooled_size)
        places = torch.add(rows[:, None] * width, columns).add(channel, alpha=height * width)
        counts = torch.zeros(channels * height * width, device=channel.device)
        counts.scatter_add_(0, places.flatten(), one.flatten().float())
        counts = counts.reshape(channels, height, width)[:, :-1, :-1]
        if self.method == 'max':
            return (counts > 0).to(dtype)
        counts = counts.to(dtype)
        return counts / self.factor**2 if self.method == 'avg' else counts

    def _average(self, maps: Tensor) -> Tensor:
        """Average pooling as sums of strided slices, which vectorise."""
        height, width = self.pooled_size
        rows = maps.new_zeros(len(maps), height, self.size[1])
        sums = maps.new_zeros(len(maps), height, width)
        for offset in range(self.factor):
            cell = (offset + self.padding) // self.factor
            part = maps[:, offset :: self.factor][:, : height - cell]
            rows[:, cell : cell + part.shape[1]] += part
        for offset in range(self.factor):
            cell = (offset + self.padding) // self.factor
            part = rows[:, :, offset :: self.factor][:, :, : width - cell]
            sums[:, :, cell : cell + part.shape[2]] += part
        return sums.div_(self.factor**2)


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(values[None, None].float(), size=size, mode='nearest')
    return resized[0, 0].to(values.dtype)
