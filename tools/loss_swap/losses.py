"""The losses that a head gets in place of its own, or beside them."""

import math
from typing import Any

from mmengine.config import ConfigDict
from mmseg.models.losses import CrossEntropyLoss

from tools.loss_swap.expressions import Expression
from tools.loss_swap.swap import (
    DEFAULT_LOSS,
    NotApplicable,
    Swap,
    find_class,
    losses_of,
    show_kind,
)

PIXEL_LOSS = 'SigmoidCrossEntropyLoss'
REGION_WEIGHT = 0.5  # of the region term beside a pixel-wise loss of weight 1, as within RMI
CROSS_ENTROPY_SHARE = Expression('2 / 3')  # of both terms: a weight of 1, and REGION_WEIGHT
# Heads that look their losses up by number, and what each of those is for.
ROLES = {
    'DDRHead': ('main', 'auxiliary'),
    'PIDHead': ('auxiliary', 'main', 'boundary', 'pixels'),
}


def is_softmax_cross_entropy(loss: ConfigDict, head: ConfigDict) -> bool:
    """Tell whether a loss is what ``RMILoss(pixel_term='ce')`` has as its pixel-wise term.

    With class weights it is not: MMSegmentation divides by the weights of the pixels, not their
    number.
    """
    channels = head.get('out_channels') or head.get('num_classes')
    others = any(loss.get(name) for name in ('use_sigmoid', 'use_mask', 'class_weight'))
    mean = loss.get('reduction', 'mean') == 'mean'
    return find_class(loss.type) is CrossEntropyLoss and mean and not others and channels != 1


def is_all_softmax_cross_entropy(head: ConfigDict, where: str) -> bool:
    """Tell whether that is the only loss of a head."""
    losses, _ = losses_of(head, where)
    return len(losses) == 1 and is_softmax_cross_entropy(losses[0], head)


def replace_losses(swap: Swap, head: ConfigDict, where: str) -> dict[str, Any]:
    """Put one RMI loss in the place of all that a head has."""
    losses, names = losses_of(head, where)
    swap.note(where, f'{names} -> RMILoss', 'RMI has a pixel-wise and a region term')
    new = {
        'type': swap.name('RMILoss'),
        **_weight(swap, losses[0], where),
        **_class_weight(swap, losses, where),
    }
    return _instead(head, new)


def join_region_term(swap: Swap, head: ConfigDict, where: str) -> dict[str, Any]:
    """Put softmax cross entropy and half a region term, in one loss, in the place of the former."""
    (loss,), name = losses_of(head, where)
    swap.note(
        where,
        f'{name} -> RMILoss',
        'the same cross entropy, averaged over pixels that are not ignored, and half a region term',
    )
    new = {
        'type': swap.name('RMILoss'),
        'pixel_term': 'ce',
        'loss_lambda': CROSS_ENTROPY_SHARE,
        'loss_weight': (1 + REGION_WEIGHT) * _weight_of(loss, where),
    }
    return _instead(head, new)


def append_region_term(swap: Swap, head: ConfigDict, where: str) -> list[Any]:
    """Keep the losses that a head has, and add half a region term to their list."""
    losses, names = losses_of(head, where)
    swap.losses_hide_activation = True
    first, *_ = [_weight_of(loss, where) for loss in losses]  # those that stay are right as well
    weight = REGION_WEIGHT * first
    swap.note(where, f'{names} + RMILoss', 'the region term of RMILoss alone is added')
    here = f'_base_.model.{where}.loss_decode'
    if 'loss_decode' not in head:
        kept: list[Any] = [dict(DEFAULT_LOSS)]
    elif isinstance(head.loss_decode, (list, tuple)):
        kept = [Expression(f'{here}[{number}]') for number in range(len(losses))]
    else:
        kept = [Expression(here)]
    return [*kept, {'type': swap.name('RMILoss'), 'loss_lambda': 0.0, 'loss_weight': weight}]


def replace_by_role(swap: Swap, head: ConfigDict, kind: str, where: str) -> list[Any]:
    """Replace the losses of a head that looks them up by number."""
    roles = ROLES[kind]
    present, _ = losses_of(head, where)
    if len(present) != len(roles):
        raise NotApplicable(f'{where}: {kind} needs a list of {len(roles)} losses')
    swap.losses_hide_activation = True
    losses: list[Any] = []
    for number, (role, loss) in enumerate(zip(roles, present, strict=True)):
        here = f'{where}.loss_decode[{number}]'
        name = show_kind(loss.type)
        if role == 'main' or (role == 'auxiliary' and swap.auxiliary):
            swap.note(here, f'{name} -> RMILoss', f'it is the {role} branch')
            losses.append(_replacement(swap, 'RMILoss', loss, here))
        elif role == 'pixels':
            why = 'it scores the main logits at boundary pixels alone, which form no whole regions'
            swap.note(here, f'{name} -> {PIXEL_LOSS}', why)
            losses.append(_replacement(swap, PIXEL_LOSS, loss, here))
        else:
            hint = '; --auxiliary gives it RMI as well' if role == 'auxiliary' else ''
            swap.note(here, 'kept', f'it is the {role} branch{hint}')
            losses.append(Expression(f'_base_.model.{here}'))
    return losses


def _instead(head: ConfigDict, new: dict[str, Any]) -> dict[str, Any]:
    """Let a merge forget the arguments of the loss that was there."""
    return {'_delete_': True, **new} if 'loss_decode' in head else new


def _replacement(swap: Swap, kind: str, loss: ConfigDict, where: str) -> dict[str, Any]:
    """Put a loss of this project in the place of another, with its weights."""
    weights = {**_weight(swap, loss, where), **_class_weight(swap, [loss], where)}
    return {'type': swap.name(kind), **weights}


def _weight(swap: Swap, loss: ConfigDict, where: str) -> dict[str, float]:
    weight = _weight_of(loss, where)
    if weight == 1:
        return {}
    swap.note(where, f'loss_weight={weight}', f'as {show_kind(loss.type)} has')
    return {'loss_weight': weight}


def _weight_of(loss: ConfigDict, where: str) -> float:
    weight = loss.get('loss_weight', 1.0)
    if isinstance(weight, (int, float)) and math.isfinite(weight):
        return weight
    raise NotApplicable(f'{where}: loss_weight of {show_kind(loss.type)} is {weight!r}')


def _class_weight(swap: Swap, losses: list[ConfigDict], where: str) -> dict[str, Any]:
    """Keep the class weights of the first loss that has some, for the pixel-wise term."""
    weighted = [each for each in losses if each.get('class_weight') is not None]
    if not weighted:
        return {}
    why = f'as {show_kind(weighted[0].type)} has, in the pixel-wise term'
    swap.note(where, 'class_weight kept', why)
    return {'class_weight': weighted[0].class_weight}
