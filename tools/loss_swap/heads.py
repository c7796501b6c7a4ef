"""The heads of a model that RMI can train, and their changes."""

from typing import Any

from mmengine.config import ConfigDict
from mmseg.models.decode_heads.decode_head import BaseDecodeHead

from mmseg_rmi.decode_heads import streamed_heads
from tools.loss_swap import losses
from tools.loss_swap.expressions import Expression
from tools.loss_swap.swap import NotApplicable, Swap, bases_of, find_class, show_kind, with_type

WHOLE_MASKS = 'it classifies whole masks that are matched to the ground truth, not pixels'
REFUSED = {
    'PointHead': 'PointRend trains it on single points, which form no regions',
    'MaskFormerHead': WHOLE_MASKS,
    'Mask2FormerHead': WHOLE_MASKS,
    'SideAdapterCLIPHead': WHOLE_MASKS,
    'VPDDepthHead': 'it estimates depth, and has no classes',
}
BOUNDARY_HEADS = ('STDCHead',)
STREAMED = {
    streamed.__mro__[2]: name
    for name, streamed in vars(streamed_heads).items()
    if name.startswith('RMI') and issubclass(streamed, streamed_heads.RegionLossMixin)
}


def change_model(swap: Swap, model: ConfigDict) -> dict[str, Any]:
    """Find the changes to the heads of a model."""
    if isinstance(model, dict) and 'decode_head' in (model.get('module') or ()):
        raise NotApplicable(
            f'its model is a {show_kind(model.get("type"))}, as a test with --tta leaves it in the '
            'work dir: give the config of the training'
        )
    if not isinstance(model, dict) or model.get('decode_head') is None:
        raise NotApplicable(
            f'the model {getattr(model, "type", model)} has no decode_head, where RMI could go'
        )
    changes = {'decode_head': _change_heads(swap, model['decode_head'], 'decode_head')}
    if model.get('auxiliary_head'):
        heads = model['auxiliary_head']
        changes['auxiliary_head'] = _change_heads(swap, heads, 'auxiliary_head')
    if not changes['decode_head']:
        raise NotApplicable('the decode_head learns boundaries, not classes')
    return {name: change for name, change in changes.items() if change}


def _change_heads(swap: Swap, heads: Any, name: str) -> Any:
    """Find the changes to one head, or to a list of them; of a cascade the last one is main."""
    if not isinstance(heads, (list, tuple)):
        return _change_head(swap, heads, name, main=name == 'decode_head')
    if not heads:
        raise NotApplicable(f'{name} is an empty list')
    items = []
    for number, head in enumerate(heads):
        main = name == 'decode_head' and number == len(heads) - 1
        changes = _change_head(swap, head, f'{name}[{number}]', main)
        items.append(Expression(f'_base_.model.{name}[{number}]', _without_delete(changes)))
    return items if any(item.changes for item in items) else None


def _change_head(swap: Swap, head: ConfigDict, where: str, main: bool) -> dict[str, Any]:
    """Find the changes to one head."""
    head = with_type(head, where)
    kind, kinds = show_kind(head.type), bases_of(head.type)
    for base in kinds:
        if base in REFUSED:
            raise NotApplicable(f'{where}, {kind}: {REFUSED[base]}')
    if any(base in BOUNDARY_HEADS for base in kinds):
        swap.note(where, 'kept', f'{kind} learns boundaries, not classes')
        return {}
    if not main and not swap.auxiliary:
        swap.note(where, 'kept', 'it only helps the training; --auxiliary swaps its loss too')
        return {}
    if 'kernel_generate_head' in head:  # K-Net: holds the loss of all stages
        swap.losses_hide_activation = True
        where = f'{where}.kernel_generate_head'
        return {'kernel_generate_head': _change_head(swap, head.kernel_generate_head, where, main)}
    _check_class(swap, head, where)
    changes = _change_losses(swap, head, kinds, where)
    if head.get('sampler') is not None:
        changes['sampler'] = None
        sampler = show_kind(with_type(head.sampler, f'{where}.sampler').type)
        swap.note(where, 'sampler=None', f'{sampler} needs a loss for each pixel')
    return changes


def _check_class(swap: Swap, head: ConfigDict, where: str) -> None:
    """Refuse heads whose losses are not those of a decode head; point out unknown ones."""
    kind, found = show_kind(head.type), find_class(head.type)
    if found is None:
        swap.note(where, 'not checked', f'{kind} is not registered here')
    elif not issubclass(found, BaseDecodeHead):
        raise NotApplicable(f'{where}: {kind} is not a BaseDecodeHead, and has its own losses')
    elif not found.__module__.startswith(('mmseg.', 'mmseg_rmi.')) and (
        found.loss_by_feat is not BaseDecodeHead.loss_by_feat  # type: ignore[attr-defined]
    ):
        swap.note(where, 'check it', f'{kind} calls its losses in a loss_by_feat of its own')


def _change_losses(swap: Swap, head: ConfigDict, kinds: list[str], where: str) -> dict[str, Any]:
    """Find the losses of a head, and the head that streams them where there is one."""
    by_number = next((base for base in kinds if base in losses.ROLES), None)
    if swap.beside and by_number:
        raise NotApplicable(
            f'{where}: {by_number} looks its losses up by number, one more has no place; leave '
            'out --beside'
        )
    if by_number:
        return {'loss_decode': losses.replace_by_role(swap, head, by_number, where)}
    if not swap.beside:
        streamed = _stream(swap, head, where)
        return {**streamed, 'loss_decode': losses.replace_losses(swap, head, where)}
    if losses.is_all_softmax_cross_entropy(head, where):
        streamed = _stream(swap, head, where)
        return {**streamed, 'loss_decode': losses.join_region_term(swap, head, where)}
    return {'loss_decode': losses.append_region_term(swap, head, where)}


def _stream(swap: Swap, head: ConfigDict, where: str) -> dict[str, str]:
    """Find the variant of a head that streams its loss."""
    kind, found = show_kind(head.type), find_class(head.type)
    if found in STREAMED:
        why = 'the same head, whose loss takes less memory'
        swap.note(where, f'{kind} -> {STREAMED[found]}', why)
        return {'type': swap.name(STREAMED[found])}
    if found is not None and issubclass(found, streamed_heads.RegionLossMixin):
        return {}
    swap.note(where, f'{kind} kept', 'it has no variant whose loss takes less memory')
    return {}


def _without_delete(changes: dict[str, Any]) -> dict[str, Any]:
    """Make settings for ``dict(base, ...)``, which replaces what a config's merge would merge."""
    if 'kernel_generate_head' in changes:
        raise NotApplicable('K-Net within a cascade is not known')
    return {
        name: {key: each for key, each in value.items() if key != '_delete_'}
        if isinstance(value, dict)
        else value
        for name, value in changes.items()
    }
