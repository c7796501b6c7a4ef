"""The fusion and the dense CRF at test time, which depend on what the losses train."""

from types import SimpleNamespace

from mmengine.config import ConfigDict
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from torch import nn

from mmseg_rmi.test_time.probabilities import find_activation
from tools.loss_swap.swap import Swap, find_class, losses_of, show_kind

READ_LOSSES = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}


def use_sigmoids(swap: Swap, settings: ConfigDict) -> dict[str, dict[str, str]]:
    """Find the changes to fusion and CRF for a network that is trained for sigmoids."""
    changes = {}
    fusion = settings.get('tta_model')
    if isinstance(fusion, dict) and find_class(fusion.get('type')) is SegTTAModel:
        changes['tta_model'] = {'type': swap.name('ProbabilityTTAModel')}
        if swap.losses_hide_activation:  # it would ask the losses of the head
            changes['tta_model']['activation'] = 'sigmoid'
        why = 'averages sigmoids, which RMI trains, instead of softmax'
        swap.note('tta_model', 'ProbabilityTTAModel', why)
    for name, found in _readers(settings):
        right = (None, 'sigmoid') if not swap.losses_hide_activation else ('sigmoid',)
        if found.get('activation') not in right:
            swap.note(name, "activation='sigmoid'", 'that is what RMI trains')
            changes[name] = {'activation': 'sigmoid'}
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = settings.get(name)
        for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
            if isinstance(metric, dict) and metric.get('activation') == 'softmax':
                why = (
                    f"{show_kind(metric.get('type'))} has activation='softmax', RMI trains sigmoids"
                )
                swap.note(name, 'check it', why)
    return changes


def _readers(settings: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """Find this project's fusion and CRF, which read the losses unless an activation is set."""
    return [
        (name, found)
        for name, kind in READ_LOSSES.items()
        if isinstance(found := settings.get(name), dict) and show_kind(found.get('type')) == kind
    ]


def set_activation(swap: Swap, settings: ConfigDict) -> dict[str, dict[str, str]]:
    """Tell this project's fusion and CRF what losses beside RMI leave them to guess."""
    places = [name for name, found in _readers(settings) if not found.get('activation')]
    if not swap.losses_hide_activation or not places:
        return {}
    head = settings.model.decode_head
    head = head[-1] if isinstance(head, (list, tuple)) else head
    losses, names = losses_of(head, 'decode_head')
    if any(find_class(loss.type) is None for loss in losses):
        why = f'{names} is not registered here; set activation=softmax if it trains a softmax'
        swap.note(', '.join(places), 'check it', why)
        return {}
    built = nn.ModuleList(MODELS.build(loss) for loss in losses)
    try:
        found = find_activation(
            SimpleNamespace(out_channels=head.get('out_channels'), loss_decode=built)
        )
    except ValueError:
        why = f'{names} train both softmax and sigmoids: set its activation to one of them'
        swap.note(', '.join(places), 'check it', why)
        return {}
    for name in places:
        why = f'that of {names}; RMILoss alone would mean sigmoid'
        swap.note(name, f'activation={found!r}', why)
    return {name: {'activation': found} for name in places}
