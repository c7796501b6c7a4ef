"""Downsampling of the maps before regions are taken (section 4 of the paper, "Downsampling").

Shapes: ``B`` images, ``C`` classes, ``H x W`` input, ``h x w`` pooled.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pooled_side(side: int, method: str, factor: int) -> int:
    """Return the length of one side of the map that :func:`downsample` returns.

    Pooling pads by ``factor // 2`` on both ends, so 513 becomes 129 at a factor of 4.

    Example:
        >>> pooled_side(513, 'avg', 4), pooled_side(513, 'interp', 4), pooled_side(513, 'max', 1)
        (129, 128, 513)
    """
    if factor == 1:
        return side
    if method == 'interp':
        return side // factor
    return (side + 2 * (factor // 2) - factor) // factor + 1


def downsample(maps: Tensor, method: str, factor: int, interpolation: str = 'bilinear') -> Tensor:
    """Shrink maps by the factor DF.

    Args:
        maps: ``B x C x H x W``, floating point.
        method: ``'avg'`` and ``'max'`` pool cells of DF x DF pixels (padding of DF // 2, counted in
            the average); ``'interp'`` samples at ``floor(H / DF) x floor(W / DF)`` places.
        factor: DF; 1 returns the maps as they are.
        interpolation: what ``'interp'`` does: ``'bilinear'`` (corners aligned) or ``'nearest'``.

    Returns:
        ``B x C x h x w``, same type.

    Example:
        >>> import torch
        >>> downsample(torch.ones(1, 1, 4, 4), 'avg', 4)[0, 0]  # a quarter of each cell is padding
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """
    if factor == 1:
        return maps
    if method == 'avg':
        return F.avg_pool2d(maps, kernel_size=factor, stride=factor, padding=factor // 2)
    if method == 'max':
        return F.max_pool2d(maps, kernel_size=factor, stride=factor, padding=factor // 2)
    size = [pooled_side(side, method, factor) for side in maps.shape[-2:]]
    align_corners = True if interpolation == 'bilinear' else None
    return F.interpolate(maps, size=size, mode=interpolation, align_corners=align_corners)
