"""Checks of the shapes of a loss's inputs, which read no value.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits: the same, or a lower
resolution.
"""

from __future__ import annotations

from torch import Tensor


def check_shapes(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    *,
    same_size: bool,
) -> None:
    """Raise a ValueError unless the inputs of a loss have shapes that fit each other.

    Args:
        logits: ``B x C x H' x W'``.
        labels: ``B x H x W``.
        pixel_weight: ``B x H x W``.
        class_weight: ``C``.
        same_size: whether logits must have the size of the labels.

    Example:
        >>> import torch
        >>> labels = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> check_shapes(torch.zeros(1, 2, 4, 4), labels, None, torch.ones(2), same_size=False)
    """
    check_logits_shape(logits)
    check_labels_shape(labels, logits, same_size=same_size, streamed='streamed_rmi_loss')
    if pixel_weight is not None:
        check_weight_shape('pixel_weight', pixel_weight, logits)
    if class_weight is not None and class_weight.shape != logits.shape[1:2]:
        raise ValueError(
            f'class_weight has shape {tuple(class_weight.shape)} for {logits.shape[1]} channels of '
            'logits: give one number per class of the head'
        )


def check_logits_shape(logits: Tensor, name: str = 'logits') -> None:
    """Raise unless logits, or what errors call ``name``, are ``B x C x H' x W'`` and not empty."""
    shape = tuple(logits.shape)
    if len(shape) == 5:
        raise ValueError(
            f'{name} must be B x C x H x W, got shape {shape}: for volumes, pass on '
            f'slices ({name}.transpose(1, 2).flatten(0, 1), labels.flatten(0, -3))'
        )
    if len(shape) != 4:
        raise ValueError(
            f'{name} must be B x C x H x W, got shape {shape}: add what is missing, '
            f'{name}[:, None] for one class or {name}[None] for one image; the B x C x points of a '
            'PointHead form no regions'
        )
    if logits.numel() == 0:
        raise ValueError(f'{name} of shape {shape} are empty: skip such a batch')


def check_labels_shape(
    labels: Tensor,
    logits: Tensor,
    name: str = 'logits',
    *,
    same_size: bool = True,
    streamed: str | None = None,
) -> None:
    """Raise unless labels are ``B x H x W``, not empty, and fit the logits.

    Args:
        labels: to check.
        logits: ``B x C x H' x W'``.
        name: what errors call the logits.
        same_size: whether logits must have the size of the labels.
        streamed: what takes logits of another size instead, if anything does.
    """
    shape, batch = tuple(labels.shape), len(logits)
    one_per_image = len(shape) == 3 and shape[0] == batch
    if same_size:
        mend = ''
        if one_per_image:
            mend = f': resize the {name} to the labels (torch.nn.functional.interpolate)'
            if streamed is not None:
                mend += f', or take {streamed}, which does so'
        _check_map_shape('labels', labels, logits, name, mend)
    elif not one_per_image:
        raise ValueError(f'labels must be B x H x W = ({batch}, H, W), got {shape}')
    if labels.numel() == 0:
        raise ValueError(f'labels of shape {shape} are empty: skip such a batch')


def check_weight_shape(
    weight_name: str, weight: Tensor, logits: Tensor, name: str = 'logits'
) -> None:
    """Raise unless a weight has one number for each pixel of logits ``B x C x H x W``."""
    mend = ': give one number for each pixel of the labels'
    _check_map_shape(weight_name, weight, logits, name, mend)


def _check_map_shape(map_name: str, values: Tensor, logits: Tensor, name: str, mend: str) -> None:
    expected = (logits.shape[0], *logits.shape[2:])
    if values.shape != expected:
        raise ValueError(
            f'{map_name} must be B x H x W = {expected} like the {name} {tuple(logits.shape)}, '
            f'got {tuple(values.shape)}{mend}'
        )
