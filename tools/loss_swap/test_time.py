"""The fusion and the dense CRF at test time, which depend on what the losses train."""

from types import SimpleNamespace
from typing import Any

from mmengine.config import ConfigDict
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from torch import nn

from mmseg_rmi.test_time.probabilities import find_activation
from tools.loss_swap.swap import Swap, find_class, losses_of, show_kind

READ_LOSSES = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}


def replace_fusion(swap: Swap, settings: ConfigDict) -> dict[str, Any]:
    """Find the test-time fusion that takes the place of an average over softmax."""
    fusion = settings.get('tta_model')
    if not isinstance(fusion, dict) or find_class(fusion.get('type')) is not SegTTAModel:
        return {}
    new = {'type': swap.name('ProbabilityTTAModel')}
    if swap.losses_hide_activation:  # it would ask the losses of the head
        new['activation'] = 'sigmoid'
    swap.note(
        'tta_model',
        'ProbabilityTTAModel',
        'averages sigmoids, which RMI trains, instead of softmax',
    )
    return new


def set_activation(swap: Swap, settings: ConfigDict) -> dict[str, dict[str, str]]:
    """Tell this project's fusion and CRF what losses beside RMI leave them to guess."""
    places = [
        name
        for name, kind in READ_LOSSES.items()
        if isinstance(found := settings.get(name), dict)
        and show_kind(found.get('type')) == kind
        and not found.get('activation')
    ]
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
