"""The child config: its name, its text, and what of its base it does not inherit."""

import os
import re
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from tools.loss_swap.expressions import render
from tools.loss_swap.swap import Swap

# What belongs to a run and not to a recipe, and its value where nothing is set. A config that
# a run left in its folder has them.
RUN_STATE = {
    'work_dir': None,
    'resume': False,
    'load_from': None,
    'experiment_name': None,
    'launcher': 'none',
}
# Where a run writes pictures and predictions, and which run of a log service it continues.
RUN_OUTPUT = {
    'visualizer': ('save_dir', 'id', 'run_id', 'resume'),
    'val_evaluator': ('output_dir',),
    'test_evaluator': ('output_dir',),
}
OF_THE_BASE = 'it belongs to the run of the base'


def unset_run_state(swap: Swap, settings: ConfigDict) -> dict[str, Any]:
    """Find what the config has of a run, and give the child none of it."""
    changes: dict[str, Any] = {}
    for name, unset in RUN_STATE.items():
        found = settings.get(name)
        if found is not None and found != unset:
            swap.note(name, f'{found!r} -> {unset!r}', OF_THE_BASE)
            changes[name] = unset
    for name, dropped in RUN_OUTPUT.items():
        found = settings.get(name)
        kept = _without(swap, found, dropped, name)
        if kept != found:
            changes[name] = {'_delete_': True, **kept} if isinstance(kept, dict) else kept
    return changes


def _without(swap: Swap, settings: Any, dropped: tuple[str, ...], where: str) -> Any:
    """Return settings without these names, at any depth."""
    if isinstance(settings, (list, tuple)):
        return type(settings)(
            _without(swap, each, dropped, f'{where}[{i}]') for i, each in enumerate(settings)
        )
    if not isinstance(settings, dict):
        return settings
    kept = {}
    for name, value in settings.items():
        if name in dropped and value is not None:
            swap.note(f'{where}.{name}', f'{value!r} left out', OF_THE_BASE)
        else:
            kept[name] = _without(swap, value, dropped, f'{where}.{name}')
    return kept


def name_child(config: str, beside: bool = False) -> Path:
    """Find where the child goes: beside its base, or here if that is MMSegmentation's.

    ``_4xb4-20k_`` becomes ``_4xb4-rmi-20k_``, as config names say their settings; other names end
    in ``_rmi``. The region term beside other losses is ``ce-rmi``.

    Raises:
        ValueError: there is no name of a file in ``config``.

    >>> name_child('mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py').name
    'pspnet_r50-d8_4xb4-rmi-20k_voc12aug-512x512.py'
    """
    path = Path(config.split('/')[-1]) if '::' in config else Path(config)
    if not path.name:
        raise ValueError(f'{config!r} is no config: name its file')
    path = path.with_suffix('.py')  # of a JSON or YAML config, too

    def add_loss(found: re.Match) -> str:
        kept = (found[2] or 'ce-') if beside else ''
        return f'{found[1]}-{kept}rmi-'

    losses = r'(_\d+xb\d+)-(ce-(?:[\d.]+-dice-[\d.]+-)?)?'
    with_loss = re.sub(losses, add_loss, path.stem, count=1)
    ending = '_ce-rmi' if beside else '_rmi'
    return path.with_stem(path.stem + ending if with_loss == path.stem else with_loss)


def compose_child(config: str, settings: ConfigDict, changes: dict[str, Any], out: Path) -> str:
    """Write the text of the child config, which changes these of its top-level settings."""
    base = config
    if '::' not in config:
        base = Path(os.path.relpath(config, out.resolve().parent)).as_posix()
    lines = [f'_base_ = {base!r}']
    imports = (settings.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    if 'mmseg_rmi' not in imports:
        imported = {'imports': [*imports, 'mmseg_rmi'], 'allow_failed_imports': False}
        if settings.get('custom_imports', {}) is None:
            imported = {'_delete_': True, **imported}
        lines.append(f'custom_imports = {render(imported, column=17)}')
    for name, value in changes.items():
        lines.append(f'{name} = {render(value, column=len(name) + 3)}')
    return '\n'.join(lines) + '\n'
