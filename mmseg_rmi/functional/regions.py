"""Regions: every R x R window of a map becomes a point of ``d = R * R`` dimensions (figure 1).

Shapes: ``h x w`` map, ``n = (h - R + 1) * (w - R + 1)`` points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.functional.downsampling import downsample
from mmseg_rmi.functional.settings import RMISettings


def extract_regions(maps: Tensor, region_size: int) -> Tensor:
    """Cast maps into their multi-dimensional points.

    Args:
        maps: ``... x h x w``.
        region_size: side R of a region, at most ``min(h, w)``.

    Returns:
        ``... x d x n``: row ``i * R + j`` is the map seen from row ``i``, column ``j`` of a region.

    Example:
        >>> extract_regions(torch.arange(6).reshape(2, 3), 2)
        tensor([[0, 1],
                [1, 2],
                [3, 4],
                [4, 5]])
    """
    height, width = (side - region_size + 1 for side in maps.shape[-2:])
    offsets = range(region_size)
    shifted = [maps[..., i : i + height, j : j + width] for i in offsets for j in offsets]
    return torch.stack(shifted, dim=-3).flatten(-2)


def kept_regions(valid: Tensor, settings: RMISettings) -> Tensor | None:
    """Tell which regions count: all, or with ``ignored='exclude'`` those without an ignored pixel.

    Args:
        valid: ``... x H x W``, boolean, at full resolution.
        settings: the constants of the objective.

    Returns:
        ``... x n``, boolean, false where a region touches a cell with an ignored pixel; None if
        all count.

    Example:
        >>> settings = RMISettings(downsample_factor=1, region_size=2, ignored='exclude')
        >>> kept_regions(torch.tensor([[True, True, True], [True, True, False]]), settings)
        tensor([ True, False])
    """
    if settings.ignored == 'zero':
        return None
    ignored = (~valid).float().reshape(-1, 1, *valid.shape[-2:])
    cells = downsample(ignored, 'max', settings.downsample_factor) > 0
    touched = extract_regions(cells, settings.region_size).any(dim=-2)
    return ~touched.reshape(*valid.shape[:-2], -1)


def region_points(
    maps: Tensor,
    kept: Tensor | None,
    settings: RMISettings,
    dtype: torch.dtype = torch.float64,
    interpolation: str = 'bilinear',
) -> Tensor:
    """Down-sample maps, cast them into multi-dimensional points, and centre these.

    Args:
        maps: ``B x C x H x W``, floating point.
        kept: ``... x n``, boolean (broadcast), the regions that count, see :func:`kept_regions`.
        settings: the constants of the objective.
        dtype: of all that comes after the down-sampling.
        interpolation: of ``downsample='interp'``.

    Returns:
        ``B x C x d x n``, of ``dtype``.

    Example:
        >>> region_points(torch.rand(1, 2, 16, 16), None, RMISettings()).shape
        torch.Size([1, 2, 9, 9])
    """
    maps = downsample(maps, settings.downsample, settings.downsample_factor, interpolation)
    points = extract_regions(maps.to(dtype), settings.region_size)
    return centre(points, kept, settings.covariance)


def centre(points: Tensor, kept: Tensor | None, covariance: str) -> Tensor:
    """Centre points so that ``X @ X.mT`` is their covariance.

    Args:
        points: ``... x d x n``.
        kept: ``... x n``, boolean (broadcast), the points to count; the others become 0. None
            counts all.
        covariance: ``'sum'`` or ``'mean'`` of the outer products over the points counted.

    Returns:
        ``... x d x n``, ``points - mean``, divided by ``sqrt(n)`` for ``'mean'``. Fewer than two
        points have no covariance: all 0.
    """
    if kept is None:
        centred = points - points.mean(dim=-1, keepdim=True)
        return centred / points.shape[-1] ** 0.5 if covariance == 'mean' else centred
    kept = kept.unsqueeze(-2).to(points.dtype)
    count = kept.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (points * kept).sum(dim=-1, keepdim=True) / count
    centred = (points - mean) * kept
    return centred / count.sqrt() if covariance == 'mean' else centred
