"""Regions: every R x R window of a map becomes a point of ``d = R * R`` dimensions (figure 1).

Shapes: ``h x w`` map, ``n = (h - R + 1) * (w - R + 1)`` points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmseg_rmi.functional.downsampling import downsample, pooled_side
from mmseg_rmi.functional.settings import RMISettings

# A truth whose variance per point is below this varies by rounding alone: its values lie in [0, 1].
LEAST_VARIANCE = 1e-11
# A sum of 1e6 squares in float64 is off by about 1e-10 times their mean: a smaller ridge beside a
# mean of 1 would not keep a covariance definite.
LEAST_RIDGE = 1e-9
# Relative covariances of a prediction are up to this many times the truth's, where a class is rare.
LARGEST_RELATIVE_MOMENT = 100


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
    """Find the regions that count: all, or those without an ignored pixel (``'exclude'``).

    Args:
        valid: ``... x H x W``, boolean, at full resolution.
        settings: the constants of the loss.

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


def paired_points(
    truth: Tensor,
    probability: Tensor,
    kept: Tensor | None,
    settings: RMISettings,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Cast both maps into points such that ``Y @ Y.mT`` and ``P @ P.mT`` are their covariances.

    Args:
        truth: one-hot map y, ``B x C x H x W``, floating point, 0 where ignored.
        probability: p, ``B x C x H x W``, 0 where ignored.
        kept: ``... x n``, boolean (broadcast), the regions that count, see :func:`kept_regions`.
        settings: the constants of the loss.
        dtype: of all that comes after the downsampling.

    Returns:
        Y and P, ``B x C x d x n`` each, of ``dtype``: downsampled, cast, centred and scaled.

    Example:
        >>> Y, P = paired_points(
        ...     torch.ones(1, 2, 16, 16), torch.rand(1, 2, 16, 16), None, RMISettings()
        ... )
        >>> Y.shape, P.shape
        (torch.Size([1, 2, 9, 9]), torch.Size([1, 2, 9, 9]))
    """
    factor, size = settings.downsample_factor, settings.region_size
    centred = []
    for maps, interpolation in ((truth, 'nearest'), (probability, 'bilinear')):
        small = downsample(maps, settings.downsample, factor, interpolation)
        centred.append(centre(extract_regions(small.to(dtype), size), kept))
    scale = covariance_scale(centred[0], kept, settings.covariance)
    return centred[0] * scale.sqrt(), centred[1] * scale.sqrt()


def centre(points: Tensor, kept: Tensor | None = None) -> Tensor:
    """Subtract from points the mean of those that count.

    Args:
        points: ``... x d x n``.
        kept: ``... x n``, boolean (broadcast), the points to count; the others become 0. None
            counts all.

    Returns:
        ``... x d x n``. Fewer than two points have no covariance: all 0.

    Example:
        >>> centre(torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([True, True, False]))
        tensor([[-1.,  1.,  0.]])
    """
    if kept is None:
        return points - points.mean(dim=-1, keepdim=True)
    kept = kept.unsqueeze(-2).to(points.dtype)
    count = kept.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (points * kept).sum(dim=-1, keepdim=True) / count
    return (points - mean) * kept


def covariance_scale(truth: Tensor, kept: Tensor | None, covariance: str) -> Tensor:
    """Return the factor of the sums of outer products that makes them covariances.

    ``'sum'``: 1; ``'mean'``: ``1 / n``; ``'relative'``: ``d / tr(S_Y)``, the inverse of the truth's
    mean variance, or 0 where the truth does not vary, which carries no information.

    Args:
        truth: Y, ``... x d x n``, centred.
        kept: ``... x n``, boolean (broadcast), the points that count.
        covariance: one of these.

    Returns:
        ``... x 1 x 1`` (broadcast), of the type of ``truth``.

    Example:
        >>> covariance_scale(torch.tensor([[-1.0, 1.0]]), None, 'relative')
        tensor([[0.5000]])
    """
    if covariance == 'relative':
        variance = truth.square().sum(dim=(-2, -1), keepdim=True) / truth.shape[-2]
        varies = variance > LEAST_VARIANCE * truth.shape[-1]
        return torch.where(varies, 1 / variance, torch.zeros_like(variance))
    if covariance == 'sum':
        return truth.new_ones(1, 1)
    if kept is None:
        return truth.new_full((1, 1), 1 / truth.shape[-1])
    return 1 / kept.sum(dim=-1).clamp(min=1).to(truth.dtype)[..., None, None]


def least_ridge(covariance: str, points: float) -> float:
    """Return the smallest ridge that float64 resolves beside second moments of points in [0, 1].

    Below it, factors of covariances come from QR decompositions, which square no value.

    Args:
        covariance: as of :func:`covariance_scale`.
        points: n, how many there are.

    Example:
        >>> least_ridge('mean', 1e4), least_ridge('sum', 1e4)
        (1e-09, 1e-05)
    """
    moments = {'sum': points, 'mean': 1, 'relative': LARGEST_RELATIVE_MOMENT}
    return LEAST_RIDGE * moments[covariance]


def check_region_fits(size: Sequence[int], settings: RMISettings) -> None:
    """Raise if a region is larger than the downsampled maps.

    Args:
        size: ``(H, W)`` of labels or logits, at full resolution.
        settings: the constants of the loss.

    Raises:
        ValueError: says from which size of crops, or up to which factor, one fits.

    Example:
        >>> check_region_fits((12, 12), RMISettings(region_size=3, downsample_factor=4))
    """
    region, factor = settings.region_size, settings.downsample_factor
    side = min(size)
    if pooled_side(side, settings.downsample, factor) >= region:
        return
    fitting = [f for f in range(1, factor) if pooled_side(side, settings.downsample, f) >= region]
    crop = next(
        s
        for s in range(side, region * factor + 1)
        if pooled_side(s, settings.downsample, factor) >= region
    )
    mend = f'use crops of at least {crop} x {crop}'
    if fitting:
        mend += f' or a downsample_factor of at most {fitting[-1]}'
    height, width = (pooled_side(s, settings.downsample, factor) for s in size)
    raise ValueError(
        f'region_size={region} is larger than the downsampled map of {height} x {width} '
        f'(full size {size[0]} x {size[1]}, downsample_factor={factor}): {mend}'
    )
