"""From the outputs of a head to the probabilities that it was trained for, and back.

``C`` classes (1 is a binary map), ``H x W`` pixels. In a prediction of MMSegmentation,
``seg_logits`` are the logits of C classes, but for C = 1 the probability of the foreground.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmseg_rmi.functional.contract import promote
from mmseg_rmi.functional.settings import ACTIVATIONS
from mmseg_rmi.utils.checks import check_choice

Activation = Literal['sigmoid', 'softmax']  # one of ACTIVATIONS


def final_head(model: Any) -> Any:
    """Find the decode head that predicts, in a segmentor or a wrapper of one.

    A model without ``decode_head`` counts as its own.
    """
    while not hasattr(model, 'decode_head') and hasattr(model, 'module'):
        model = model.module
    head = getattr(model, 'decode_head', model)
    return head[-1] if isinstance(head, nn.ModuleList) else head


def find_activation(head: Any) -> Activation:
    """Infer from a head's losses how it predicts probabilities: by sigmoid if ``use_sigmoid``.

    Losses without the attribute count as softmax, as in MMSegmentation, unless another loss has it.
    A head with one channel uses a sigmoid.

    Raises:
        ValueError: the losses contradict each other, or there are none; says what to set.
    """
    if getattr(head, 'out_channels', None) == 1:
        return 'sigmoid'
    losses = getattr(head, 'loss_decode', None)
    if not isinstance(losses, nn.Module):
        raise ValueError(
            f'{type(head).__name__} has no loss_decode that says what it was trained for: set '
            f"activation='softmax' or activation='sigmoid'"
        )
    each = list(losses) if isinstance(losses, nn.ModuleList) else [losses]
    said = {loss.use_sigmoid for loss in each if hasattr(loss, 'use_sigmoid')}
    if len(said) > 1:
        names = ', '.join(type(loss).__name__ for loss in each)
        raise ValueError(
            f'the losses of {type(head).__name__} ({names}) use both softmax and sigmoid: set '
            "activation='softmax' or activation='sigmoid'"
        )
    return 'sigmoid' if said == {True} else 'softmax'


def resolve_activation(activation: Activation | None, model: Any) -> Activation:
    """Return the activation if one is set, and otherwise infer it from the model's losses.

    Raises:
        ValueError: it is neither softmax nor sigmoid, or as for :func:`find_activation`.
    """
    if activation is None:
        return find_activation(final_head(model))
    check_choice('activation', activation, ACTIVATIONS)
    return activation


def to_probabilities(seg_logits: Tensor, activation: Activation) -> Tensor:
    """Map the ``C x H x W`` ``seg_logits`` of a prediction to probabilities of that shape.

    Example:
        >>> to_probabilities(torch.zeros(4, 1, 1), 'sigmoid').flatten()
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    if len(seg_logits) == 1:
        return seg_logits
    return seg_logits.softmax(0) if activation == 'softmax' else seg_logits.sigmoid()


def average_probabilities(views: Sequence[Tensor], activation: Activation) -> Tensor:
    """Find the ``seg_logits`` whose probabilities are the mean of those of several predictions.

    The mean is computed from logarithms, which distinguish probabilities that round to 0 or 1, in
    float32 or better.

    Args:
        views: ``seg_logits``, ``C x H x W`` each.
        activation: what turns them into probabilities.

    Returns:
        ``C x H x W``; for softmax, up to a constant per pixel, which changes no probability.

    Example:
        >>> views = [torch.full((2, 1, 1), logit) for logit in (-2.0, 2.0)]
        >>> average_probabilities(views, 'sigmoid').flatten()
        tensor([0., 0.])
    """
    views = [promote(view) for view in views]
    if len(views[0]) == 1:
        return reduce(torch.add, views) / len(views)
    if activation == 'softmax':
        return reduce(torch.logaddexp, (view.log_softmax(0) for view in views))
    yes = reduce(torch.logaddexp, (functional.logsigmoid(view) for view in views))
    no = reduce(torch.logaddexp, (functional.logsigmoid(-view) for view in views))
    return yes - no


def to_distribution(seg_logits: Tensor, activation: Activation) -> Tensor:
    """Map ``seg_logits`` to one distribution over the classes, or over {background, foreground}.

    One-vs-rest sigmoids are divided by their sum, which keeps their ratios.

    Example:
        >>> to_distribution(torch.tensor([[[0.3]]]), 'sigmoid').flatten()
        tensor([0.7000, 0.3000])
    """
    if len(seg_logits) == 1:
        return torch.cat([1 - seg_logits, seg_logits])
    if activation == 'sigmoid':
        seg_logits = functional.logsigmoid(seg_logits)
    return seg_logits.softmax(0)
