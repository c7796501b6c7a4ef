"""Checks of what a loss is called with, before any compute."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from mmseg_rmi.functional.shapes import (
    check_labels_shape,
    check_logits_shape,
    check_weight_shape,
)
from mmseg_rmi.utils.checks import check_integer, check_number
from mmseg_rmi.utils.labels import (
    INT32_RANGE,
    INTEGER_DTYPES,
    describe_known_labels,
    unknown_labels,
)
from mmseg_rmi.utils.tracing import has_values, is_compiling, unwrap

FLOATING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_loss_constants(loss_weight: float, loss_name: str) -> None:
    """Raise unless MMSegmentation would train a loss with this weight and name."""
    check_number('loss_weight', loss_weight)
    if not isinstance(loss_name, str) or 'loss' not in loss_name:
        raise ValueError(
            f"loss_name must contain 'loss', or MMEngine would log it but not train it; "
            f'got {loss_name!r}'
        )


def refuse_other_arguments(loss: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Raise a TypeError if there are arguments that a loss does not have.

    ``_delete_`` is no argument: mmengine leaves it behind where a config has no base.
    """
    unknown = [each for each in arguments if each != '_delete_']
    if not unknown:
        return
    name = type(loss).__name__
    parameters = signature(type(loss)).parameters.values()
    known = ', '.join(each.name for each in parameters if each.kind != each.VAR_KEYWORD)
    raise TypeError(
        f'{name} has no argument {", ".join(map(repr, unknown))}. A config inherits those of the '
        f"loss that it replaces, unless it has loss_decode=dict(_delete_=True, type='{name}'). The "
        f'arguments of {name} are {known}'
    )


def check_inputs(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    ignore_index: int | None,
    avg_factor: float | None = None,
    reduction_override: str | None = None,
    *,
    same_size: bool = True,
    streamed: str | None = None,
    name: str = 'logits',
) -> None:
    """Raise unless a loss can be computed from these inputs.

    Args:
        logits: ``B x C x H x W``, floating point.
        labels: ``B x H x W``, integer, same device.
        weight: ``B x H x W``, a real number each, same device.
        ignore_index: the one label allowed outside ``[0, C)``; None allows none.
        avg_factor: only None is possible.
        reduction_override: only None and ``'mean'`` are possible.
        same_size: False for logits that are still to be upsampled to the labels.
        streamed: what takes such logits instead, if anything does, for the text of an error.
        name: what errors call the logits.

    Raises:
        ValueError: a shape, device, label or reduction that does not fit, or an empty batch. Values
            that the host would have to wait for (on CUDA, in a compiled graph) are asserted on the
            device instead; meta and fake tensors have none to check.
        TypeError: not tensors, logits that are not floating point, labels that are not integer,
            an ignore_index that is not an integer.
    """
    _check_reduction(reduction_override, avg_factor)
    if ignore_index is not None:
        check_integer('ignore_index', ignore_index, *INT32_RANGE)
    _check_logits(name, logits)
    _check_labels(labels, name, logits, same_size, streamed)
    if weight is not None:
        _check_weight(weight, name, logits)
    _check_label_values(labels, logits.shape[1], ignore_index)


def _check_logits(name: str, logits: object) -> None:
    if not isinstance(logits, Tensor):
        mend = 'use torch.as_tensor'
        if isinstance(logits, (list, tuple, Mapping)):
            mend = 'for a network with several outputs, pass on one at a time'
        raise TypeError(
            f'{name} must be a tensor B x C x H x W, got {type(logits).__name__}: {mend}'
        )
    _check_is_dense(name, logits)
    check_logits_shape(logits, name)
    if not logits.is_floating_point():
        raise TypeError(f'{name} must be floating point, got {logits.dtype}: use {name}.float()')
    if logits.dtype not in FLOATING_DTYPES:
        raise TypeError(f'{name} must be of 16, 32 or 64 bits, got {logits.dtype}')


def _check_labels(
    labels: Tensor, name: str, logits: Tensor, same_size: bool, streamed: str | None
) -> None:
    _check_is_tensor('labels', labels)
    _check_is_dense('labels', labels)
    if labels.dim() == 4:
        mend = _mend_of_4d(labels, logits)
        raise ValueError(f'labels must be B x H x W, got {tuple(labels.shape)}: {mend}')
    if labels.dtype not in INTEGER_DTYPES:
        raise TypeError(
            f'labels must be integer class indices, got {labels.dtype}: use labels.long() if all '
            'are whole numbers; soft labels are not supported'
        )
    check_labels_shape(labels, logits, name, same_size=same_size, streamed=streamed)
    _check_device('labels', labels, name, logits)


def _mend_of_4d(labels: Tensor, logits: Tensor) -> str:
    """Say what labels of four dimensions look like, and what to do."""
    for dim in (1, -1):
        if labels.shape[dim] == logits.shape[1] > 1 and _look_like_shares(labels, dim):
            return (
                'they look like one map per class. For one-hot maps use labels.argmax'
                f'(dim={dim}); pixels with several classes are not supported'
            )
    if {labels.shape[1], labels.shape[-1]} & {3, 4}:
        return (
            'they look like colours. Write the masks as images of one channel that hold class '
            'indices (palette or grayscale PNG), with a table from colours to classes'
        )
    if labels.shape[-1] == 2:
        return (
            'they look like gray levels with alpha, B x H x W x 2. Write the masks as images of '
            'one channel that hold class indices'
        )
    return 'each pixel needs one class index, without a dimension of channels'


def _look_like_shares(labels: Tensor, dim: int) -> bool:
    """Tell whether the values along a dimension may be those of a pixel in one map per class."""
    labels = unwrap(labels)
    if is_compiling() or not has_values(labels) or labels.is_complex():
        return dim == 1
    shares = labels.float()
    are_shares = (shares >= 0) & (shares <= 1)
    if dim == -1:  # as colours are: their sum must be 1 as well
        are_shares = are_shares.all(dim) & ((shares.sum(dim) - 1).abs() < 1e-3)
    return bool(are_shares.all())


def _check_weight(weight: Tensor, name: str, logits: Tensor) -> None:
    _check_is_tensor('weight', weight)
    _check_is_dense('weight', weight)
    if weight.is_complex():
        raise TypeError(f'weight must hold real numbers, got {weight.dtype}')
    check_weight_shape('weight', weight, logits, name)
    _check_device('weight', weight, name, logits)
    weight = unwrap(weight)
    if weight.is_cuda or is_compiling():
        torch._assert_async(weight.isfinite().all(), 'weight holds a value that is not finite')
    elif has_values(weight) and not bool(weight.isfinite().all()):
        value = weight[~weight.isfinite()][0]
        raise ValueError(
            f'weight must be finite, got {float(value)}: use 0 for pixels to leave out'
        )


def _check_is_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f'{name} must be a tensor B x H x W, got {type(value).__name__}: use torch.as_tensor'
        )


def _check_is_dense(name: str, values: Tensor) -> None:
    if values.is_nested or values.layout is not torch.strided:
        kind = 'nested' if values.is_nested else str(values.layout).removeprefix('torch.')
        mend = 'torch.nested.to_padded_tensor' if values.is_nested else 'to_dense'
        raise TypeError(f'{name} must be a dense tensor, got a {kind} one: use {mend}')


def _check_reduction(reduction_override: str | None, avg_factor: float | None) -> None:
    if reduction_override == 'none':
        raise ValueError(
            "reduction_override='none' asks for a loss per pixel, which regions do not have. "
            'OHEMPixelSampler asks for it: set sampler=None in the decode head'
        )
    if reduction_override not in (None, 'mean'):
        raise ValueError(f"reduction_override must be None or 'mean', got {reduction_override!r}")
    if avg_factor is not None:
        raise ValueError(
            f'avg_factor={avg_factor} is not supported: the loss is normalised by its own pixels '
            'and images'
        )


def _check_device(name: str, values: Tensor, others: str, logits: Tensor) -> None:
    if values.device != logits.device:
        raise ValueError(
            f'{name}.device is {values.device}, that of the {others} {logits.device}: use '
            f'{name}.to({others}.device)'
        )


def _check_label_values(labels: Tensor, channels: int, ignore_index: int | None) -> None:
    labels = unwrap(labels)
    classes = max(channels, 2)  # one channel is a binary map
    unknown = unknown_labels(labels, classes, ignore_index)
    expected = f'expected {describe_known_labels(classes, ignore_index)}'
    if labels.is_cuda or is_compiling():
        mend = 'tools/check_labels.py CONFIG tells which value, in which image'
        torch._assert_async(~unknown.any(), f'labels hold an unknown value: {expected}; {mend}')
        return
    if not has_values(labels) or not bool(unknown.any()):
        return
    image = int(unknown.flatten(1).any(dim=1).nonzero()[0])
    value = int(labels[image][unknown[image]][0])
    raise ValueError(
        f'labels hold {value} in image {image} of the batch: {expected}. Check the data set '
        '(reduce_zero_label, label_map, void label), the seg_pad_val with which the data '
        'preprocessor and the pipeline pad, and the num_classes of the head; '
        'tools/check_labels.py CONFIG reads all labels that a config trains on'
    )
