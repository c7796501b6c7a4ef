"""Whether a checkpoint holds what a model and its optimizer need; MMEngine loads what fits."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mmseg_rmi.checkpoints import extract_weights_command

TRAINING_ONLY = re.compile(r'auxiliary_head\.|.*loss')  # what a test does without
NOT_NEEDED = re.compile(r'.*num_batches_tracked')


def check_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str, use: str = 'test'
) -> None:
    """Raise unless a checkpoint holds the weights that a model needs.

    Args:
        model: as a runner has it, perhaps wrapped.
        checkpoint: a state dict, or a dict with one as ``state_dict``.
        source: name of its file.
        use: ``'resume'`` needs all weights; ``'test'`` all but those of auxiliary heads and losses;
            ``'load'``, the start of another training, at least one.

    Raises:
        ValueError: no weight fits; one is not finite; one that is needed is missing or of another
            shape.

    Example:
        >>> check_weights(
        ...     nn.Linear(2, 1), {'weight': nn.Linear(3, 1).weight}, 'a.pth'
        ... )  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: a.pth has no weight of this model: it holds weight (1 x 3), and the model ...
    """
    network: Any = model
    while is_model_wrapper(network) or isinstance(network, BaseTTAModel):
        network = network.module
    own, weights = network.state_dict(), find_weights(checkpoint)
    fitting = [name for name in own if name in weights and _fits(own[name], weights[name])]
    if own and not fitting:
        remedy = 'Is it the checkpoint of another network, or of another program?'
        if isinstance(checkpoint.get('model'), Mapping):
            remedy = f'Save what is in model alone with {extract_weights_command(source)}'
        raise ValueError(
            f'{source} has no weight of this model: it holds {_list(weights or checkpoint)}, and '
            f'the model needs {_list(own)}. {remedy}'
        )
    for name in fitting:
        if not weights[name].isfinite().all():
            raise ValueError(
                f'{source} holds values in {name} that are not finite, as after a training that '
                'diverged: take an earlier checkpoint'
            )
    if use == 'load':
        return
    misfits = [name for name in own if name in weights and not _fits(own[name], weights[name])]
    if not misfits and not own.keys() <= weights.keys():
        # Modules that rename the weights of older versions know better what is missing.
        misfits = network.load_state_dict(weights, strict=False).missing_keys
    unneeded = TRAINING_ONLY if use == 'test' else NOT_NEEDED
    misfits = [name for name in misfits if not (unneeded.match(name) or NOT_NEEDED.match(name))]
    if misfits:
        name, *others = misfits
        there = _shape(weights[name]) if name in weights else 'not there'
        remedy = 'Take the config that it was trained with'
        if use == 'resume':
            remedy += f'; {_begin_anew(source, "the weights that fit")}'
        raise ValueError(
            f'{source} does not fit the config: {name} is {there} in the file and '
            f'{_shape(own[name])} in the model{f", and {len(others)} more" if others else ""}. '
            f'{remedy}'
        )


def check_training_state(checkpoint: Mapping[str, Any], source: str) -> None:
    """Raise a ValueError unless a training can be resumed from a checkpoint of these entries."""
    meta, optimizer = checkpoint.get('meta'), checkpoint.get('optimizer')
    needed = {
        'meta.iter': isinstance(meta, Mapping) and 'iter' in meta and 'epoch' in meta,
        'message_hub': isinstance(checkpoint.get('message_hub'), Mapping),
        'optimizer': isinstance(optimizer, Mapping) and len(optimizer) > 0,
    }
    missing = [name for name, is_there in needed.items() if not is_there]
    if missing:
        raise ValueError(
            f'{source} cannot be resumed from, since it has no {" and no ".join(missing)}: to '
            f'start from its weights, move it elsewhere, leave out --resume, and set --cfg-options '
            f'load_from=PATH/{Path(source).name}'
        )


def check_optimizer(
    wrapper: OptimWrapper | OptimWrapperDict, state: Mapping[str, Any], source: str
) -> None:
    """Raise unless an optimizer can go on from the state of a checkpoint.

    Args:
        wrapper: of the optimizer, or of several.
        state: what a wrapper of the same kind has saved.
        source: name of the checkpoint's file.

    Raises:
        ValueError: the state is that of other parameter groups, or of an optimizer with other
            settings.
    """
    several = isinstance(wrapper, OptimWrapperDict)
    for name, each in wrapper.items() if several else [('', wrapper)]:
        own = each.optimizer.param_groups
        saved = (state.get(name) or {} if several else state).get('param_groups', [])
        if _sizes(own) == _sizes(saved) and not _differ_in_settings(own, saved):
            continue
        raise ValueError(
            f'{source} has the state of another optimizer{f" {name}" if name else ""}: '
            f'{_describe(saved, own)}, and the config asks for {_describe(own, saved)}. Take the '
            f'optim_wrapper that it was trained with; {_begin_anew(source, "its weights")}'
        )


def find_weights(checkpoint: Mapping[str, Any]) -> OrderedDict[str, Tensor]:
    """Find the weights in a checkpoint, by the names under which MMEngine loads them.

    They keep the versions of the modules that saved them, by which newer ones rename them.
    """
    state = checkpoint.get('state_dict', checkpoint)
    weights = OrderedDict(
        (re.sub(r'^module\.', '', name), value)
        for name, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(name, str) and isinstance(value, Tensor)
    )
    if hasattr(state, '_metadata'):
        weights._metadata = state._metadata  # type: ignore[attr-defined]
    return weights


def _begin_anew(source: str, weights: str) -> str:
    return (
        f'or give this training a --work-dir of its own and start from {weights}, with '
        f'--cfg-options load_from={source} and without --resume'
    )


def _sizes(groups: Sequence[Mapping[str, Any]]) -> list[int]:
    return [len(group['params']) for group in groups]


def _differ_in_settings(own: Sequence[Mapping], saved: Sequence[Mapping]) -> bool:
    """Tell whether each has settings that the other lacks; a newer torch only adds some."""
    pairs = zip(own, saved, strict=True)
    return any(one.keys() - two.keys() and two.keys() - one.keys() for one, two in pairs)


def _describe(groups: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Say by what the parameter groups of an optimizer differ from others."""
    sizes, other_sizes = _sizes(groups), _sizes(others)
    if sizes == other_sizes:
        return 'settings ' + ', '.join(sorted(groups[0].keys() - others[0].keys()))
    if (len(sizes), sum(sizes)) == (len(other_sizes), sum(other_sizes)):
        return f'parameter groups of {", ".join(map(str, sizes))}'
    return f'{sum(sizes)} parameters in {len(sizes)} group{"" if len(sizes) == 1 else "s"}'


def _fits(own: Any, other: Tensor) -> bool:
    return isinstance(own, Tensor) and own.shape == other.shape


def _shape(value: Any) -> str:
    return ' x '.join(map(str, value.shape)) or 'a scalar'


def _list(values: Mapping[Any, Any], most: int = 3) -> str:
    """Name the first entries, with the shapes of those that are tensors."""
    named = [
        f'{name} ({_shape(value)})' if isinstance(value, Tensor) else str(name)
        for name, value in list(values.items())[:most]
    ]
    more = [f'{len(values) - most} more'] if len(values) > most else []
    return ', '.join([*named, *more]) or 'nothing'
