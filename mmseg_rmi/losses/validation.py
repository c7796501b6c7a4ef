"""Checks of what a loss is called with, before any compute."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.functional import RMISettings, pooled_side
from mmseg_rmi.utils.checks import check_number
from mmseg_rmi.utils.tracing import is_compiling

INTEGER_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_loss_constants(loss_weight: float, loss_name: str) -> None:
    """Raise unless MMSegmentation would train a loss of that weight and name."""
    check_number('loss_weight', loss_weight)
    if not isinstance(loss_name, str) or 'loss' not in loss_name:
        raise ValueError(
            f"loss_name must contain 'loss', or MMEngine would log it but not train it; "
            f'got {loss_name!r}'
        )


def check_inputs(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction_override: str | None = None,
    avg_factor: float | None = None,
) -> None:
    """Raise unless a loss can be computed of these inputs.

    Args:
        logits: ``B x C x H x W``, floating point.
        labels: ``B x H x W``, integer, same device.
        weight: ``B x H x W``, floating point, same device.
        ignore_index: the one label allowed outside ``[0, C)``.
        reduction_override: only None and ``'mean'`` are possible.
        avg_factor: only None is possible.

    Raises:
        ValueError: a shape, device, label or reduction that does not fit, or nothing to compute a
            loss of. On CUDA a bad label triggers a device assertion instead, so that the host need
            not wait for the check; so it does in a compiled graph.
        TypeError: logits that are not floating point, labels that are not integer.
    """
    _check_reduction(reduction_override, avg_factor)
    if logits.dim() != 4:
        raise ValueError(
            f'logits must be B x C x H x W, got shape {tuple(logits.shape)}: regions need images '
            f'(a PointHead, whose logits are B x C x points, cannot be trained with this loss)'
        )
    if logits.numel() == 0:
        raise ValueError(
            f'logits of shape {tuple(logits.shape)} hold nothing, and the loss of nothing is '
            'undefined: leave such a batch out'
        )
    if not logits.is_floating_point():
        raise TypeError(f'logits must be floating point, got {logits.dtype}')
    if labels.dtype not in INTEGER_DTYPES:
        raise TypeError(f'labels must be integer class indices, got {labels.dtype}')
    _check_map('labels', labels, logits)
    if weight is not None:
        _check_map('weight', weight, logits)
    _check_label_values(labels.long(), logits.shape[1], ignore_index)


def check_region_fits(logits: Tensor, settings: RMISettings) -> None:
    """Raise if a region is larger than the down-sampled maps."""
    region, factor = settings.region_size, settings.downsample_factor
    side = min(logits.shape[-2:])
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
    height, width = (pooled_side(s, settings.downsample, factor) for s in logits.shape[-2:])
    raise ValueError(
        f'region_size={region} is larger than the down-sampled map of {height} x {width} '
        f'(logits of {logits.shape[-2]} x {logits.shape[-1]}, downsample_factor={factor}): {mend}'
    )


def _check_reduction(reduction_override: str | None, avg_factor: float | None) -> None:
    if reduction_override == 'none':
        raise ValueError(
            "reduction_override='none' asks for a loss per pixel, which a loss of regions has not. "
            'An OHEMPixelSampler asks for it: set sampler=None in the decode head'
        )
    if reduction_override not in (None, 'mean'):
        raise ValueError(f"reduction_override must be None or 'mean', got {reduction_override!r}")
    if avg_factor is not None:
        raise ValueError(
            f'avg_factor={avg_factor} is not possible: the loss is normalised by its own pixels '
            'and images'
        )


def _check_map(name: str, values: Tensor, logits: Tensor) -> None:
    expected = (logits.shape[0], *logits.shape[2:])
    if values.shape != expected:
        raise ValueError(
            f'{name} must be B x H x W = {expected} like the logits {tuple(logits.shape)}, '
            f'got {tuple(values.shape)}'
        )
    if values.device != logits.device:
        raise ValueError(f'{name} are on {values.device}, the logits on {logits.device}')


def _check_label_values(labels: Tensor, channels: int, ignore_index: int) -> None:
    classes = max(channels, 2)  # one channel is a binary map
    known = ((labels >= 0) & (labels < classes)) | (labels == ignore_index)
    expected = f'expected 0 to {classes - 1} or ignore_index={ignore_index}'
    if labels.is_cuda or is_compiling():
        torch._assert_async(known.all(), f'labels hold an unknown value: {expected}')
        return
    if bool(known.all()):
        return
    image = int(known.flatten(1).all(dim=1).logical_not().nonzero()[0])
    value = int(labels[image][~known[image]][0])
    raise ValueError(
        f'labels hold {value} in image {image} of the batch: {expected}. Check the data set '
        '(reduce_zero_label, label_map, void label) and the num_classes of the head'
    )
