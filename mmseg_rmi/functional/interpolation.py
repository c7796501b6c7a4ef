"""Bilinear interpolation differentiated by hand.

Shapes: ``k`` maps, ``h x w`` before interpolation, ``H x W`` after it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Where torch's own adjoint adds in a fixed order. On CUDA it adds in any, so that runs differ, and
# raises where deterministic algorithms are asked for.
DETERMINISTIC_DEVICES = ('cpu',)


def bilinear_adjoint(gradient: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Gradient by the maps that were interpolated, the same bit for bit in every run.

    Args:
        gradient: by the result of ``F.interpolate(..., mode='bilinear')``, ``k x H x W``.
        size: ``(h, w)``.
        align_corners: as in ``F.interpolate``.

    Returns:
        ``k x h x w``.

    Example:
        >>> bilinear_adjoint(torch.ones(1, 4, 4), (2, 2), align_corners=False)
        tensor([[[4., 4.],
                 [4., 4.]]])
    """
    if gradient.device.type in DETERMINISTIC_DEVICES:
        return torch.ops.aten.upsample_bilinear2d_backward(
            gradient[None], list(gradient.shape[1:]), [1, len(gradient), *size], align_corners
        )[0]
    rows, columns = (
        F.interpolate(
            torch.eye(before, dtype=gradient.dtype, device=gradient.device)[None],
            after,
            mode='linear',
            align_corners=align_corners,
        )[0]
        for before, after in zip(size, gradient.shape[1:], strict=True)
    )
    return rows @ gradient @ columns.mT
