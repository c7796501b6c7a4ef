"""Downsampling with its adjoint, for code that differentiates by hand and reuses its memory.

The maps are those of :mod:`mmseg_rmi.functional.downsampling`. ``N`` images, ``k`` maps of each,
``H x W`` pixels, ``h x w`` cells.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional.blocked.interpolation import bilinear_adjoint
from mmseg_rmi.functional.downsampling import downsample, pooled_side


class Pooling:
    """One way of downsampling maps of one size.

    Args:
        method: ``'avg'``, ``'max'`` or ``'interp'``.
        factor: DF.
        size: ``(H, W)`` of the maps.
        device: of the maps.

    Example:
        >>> pooling = Pooling('avg', 2, (4, 4), torch.device('cpu'))
        >>> pooled, _ = pooling.forward(torch.ones(1, 1, 4, 4))
        >>> pooled[0, 0]  # three cells a side: the outer ones are partly padding
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
        """Downsample ``N x k x H x W`` to ``N x k x h x w``; also what the adjoint needs."""
        if self.factor == 1:
            return maps, None
        if self.method == 'avg':
            return self._average(maps), None
        if self.method == 'max':
            return F.max_pool2d(maps, self.factor, self.factor, self.padding, return_indices=True)
        return downsample(maps, self.method, self.factor), None

    def adjoint(self, gradient: Tensor, max_places: Tensor | None, out: Tensor) -> Tensor:
        """Return the gradient that downsampled maps hand back to pixels, in given memory.

        Args:
            gradient: by the downsampled maps, ``N x k x h x w``.
            max_places: what :meth:`forward` returned with these.
            out: ``N x k x H x W``, written.
        """
        if self.factor == 1:
            return out.copy_(gradient)
        if self.method == 'avg':
            padded = F.pad(gradient / self.factor**2, (0, 1, 0, 1))  # no cell: gradient 0
            wide = padded[..., None].expand(*padded.shape, self.factor).flatten(-2)
            wide = wide[..., self.padding : self.padding + self.size[1]]
            return torch.index_select(wide, 2, self.rows, out=out)
        if max_places is not None:
            out.zero_().flatten(2).scatter_(2, max_places.flatten(2), gradient.flatten(2))
            return out
        return out.copy_(bilinear_adjoint(gradient, self.size, align_corners=True))

    def pooled_one_hot(
        self, channel: Tensor, has_label: Tensor, channels: int, dtype: torch.dtype
    ) -> Tensor:
        """Count labels in cells: downsampled one-hot maps, ``N x C x h x w``.

        Args:
            channel: ``N x H x W``, int64 in ``[0, C)``.
            has_label: ``N x H x W``, boolean, whether the pixel belongs to any channel.
            channels: C.
            dtype: of the maps.
        """
        rows, columns, number = self.rows, self.columns, len(channel)
        height, width = (side + 1 for side in self.pooled_size)
        if self.method == 'interp' and self.factor > 1:
            channel, has_label = (
                _nearest(values, self.pooled_size) for values in (channel, has_label)
            )
            rows, columns = (torch.arange(s, device=channel.device) for s in self.pooled_size)
        images = torch.arange(number, device=channel.device)[:, None, None]
        places = torch.add(channel, images * channels).mul_(height * width)
        places.add_(rows[:, None] * width).add_(columns)
        counts = torch.zeros(
            number * channels * height * width, dtype=torch.float32, device=channel.device
        )
        counts.scatter_add_(0, places.flatten(), has_label.flatten().float())
        counts = counts.reshape(number, channels, height, width)[..., :-1, :-1]
        if self.method == 'max':
            return (counts > 0).to(dtype)
        counts = counts.to(dtype)
        return counts / self.factor**2 if self.method == 'avg' else counts

    def _average(self, maps: Tensor) -> Tensor:
        """Average pooling as sums of strided slices, which vectorise."""
        height, width = self.pooled_size
        rows = maps.new_zeros(*maps.shape[:2], height, width * self.factor)
        inner = rows[..., self.padding : self.padding + self.size[1]]
        maps = maps[..., : inner.shape[-1]]
        for offset in range(self.factor):
            cell = (offset + self.padding) // self.factor
            part = maps[..., offset :: self.factor, :][..., : height - cell, :]
            inner[..., cell : cell + part.shape[-2], :] += part
        columns = rows.unflatten(-1, (width, self.factor)).unbind(-1)
        return reduce(torch.add, columns) / self.factor**2


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(values[:, None].float(), size=size, mode='nearest')
    return resized[:, 0].to(values.dtype)
