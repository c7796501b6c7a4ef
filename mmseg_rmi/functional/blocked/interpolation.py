"""Bilinear interpolation into given memory, and differentiated by hand.

Shapes: ``N`` images, ``k`` maps of each, ``h x w`` before interpolation, ``H x W`` after it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Where torch's own adjoint adds in a fixed order. On CUDA it adds in any, so that runs differ, and
# raises where deterministic algorithms are asked for.
DETERMINISTIC_DEVICES = ('cpu',)


def bilinear_into(out: Tensor, maps: Tensor, align_corners: bool) -> None:
    """Interpolate maps, ``N x k x h x w``, into memory that is there already, ``N x k x H x W``.

    Args:
        out: written.
        maps: to interpolate, in the precision of ``out``.
        align_corners: as in :func:`torch.nn.functional.interpolate`.

    Example:
        >>> wide = torch.empty(1, 1, 1, 3)
        >>> bilinear_into(wide, torch.tensor([[[[0.0, 1.0]]]]), align_corners=True)
        >>> wide.flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    size = list(out.shape[2:])
    torch.ops.aten.upsample_bilinear2d.out(maps.to(out.dtype), size, align_corners, out=out)


def bilinear_adjoint(gradient: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Compute the gradient by the maps that were interpolated, the same to the bit in every run.

    Args:
        gradient: by the result of ``F.interpolate(..., mode='bilinear')``, ``N x k x H x W``.
        size: ``(h, w)``.
        align_corners: as in ``F.interpolate``.

    Returns:
        ``N x k x h x w``.

    Example:
        >>> bilinear_adjoint(torch.ones(1, 1, 4, 4), (2, 2), align_corners=False)[0, 0]
        tensor([[4., 4.],
                [4., 4.]])
    """
    if gradient.device.type in DETERMINISTIC_DEVICES:
        return torch.ops.aten.upsample_bilinear2d_backward(
            gradient, list(gradient.shape[2:]), [*gradient.shape[:2], *size], align_corners
        )
    rows, columns = (
        F.interpolate(
            torch.eye(before, dtype=gradient.dtype, device=gradient.device)[None],
            after,
            mode='linear',
            align_corners=align_corners,
        )[0]
        for before, after in zip(size, gradient.shape[2:], strict=True)
    )
    return rows @ gradient @ columns.mT
