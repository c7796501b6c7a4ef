"""From which checkpoint a training goes on, and whether it is the same training."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_rmi.checkpoints import is_whole_archive
from mmseg_rmi.utils.config_types import find_class

NUMBERED = re.compile(r'(?!best_).*?(\d+)\.pth')
MISSING = '(unset)'
# Settings that MMEngine replaces by what a checkpoint holds.
REPLACED = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg', 'param_scheduler')


def resume_from_newest(cfg: Config) -> list[str]:
    """Let a config resume from the newest whole checkpoint of its work dir, if there is one.

    Where there is none, ``load_from`` keeps its meaning in MMEngine: with ``resume=True`` in the
    config the training goes on from there, else it begins with those weights.

    Returns:
        What the user should know: a broken checkpoint that was passed over, and settings of the
        losses, the optimizer and its schedule that differ from those of the checkpoint.

    Raises:
        ValueError: there are checkpoints, but none is whole; or the newest was written by a
            training with other losses.
    """
    path, broken = find_newest_checkpoint(Path(cfg.work_dir), *find_other_folders(cfg))
    if path is None and broken:
        raise ValueError(
            f'no checkpoint in {cfg.work_dir} is whole ({_named(broken)}): move them away, and '
            'leave out --resume to start over'
        )
    named = cfg.get('load_from')
    if path is None and not (named and cfg.get('resume')):
        cfg.resume = False
        start = f'with the weights of {named}' if named else 'at the beginning'
        return [f'No checkpoint in {cfg.work_dir}: the training starts {start}.']
    cfg.resume, cfg.load_from = True, str(path or named)
    notes = []
    if path is None:
        notes.append(f'No checkpoint in {cfg.work_dir}: resuming from {named}, as the config says.')
    if broken:
        notes.append(f'Resuming from {path}, since what is newer is not whole: {_named(broken)}.')
    source = Path(cfg.load_from)
    before = read_config(source)
    return notes + compare_losses(source, before, cfg) + compare_schedules(source, before, cfg)


def find_newest_checkpoint(work_dir: Path, *others: Path) -> tuple[Path | None, list[Path]]:
    """Find the whole checkpoint of the highest iteration, and the broken ones above it.

    Files older than a whole one that ``last_checkpoint`` names belong to an earlier training in the
    same folder, and do not count. Of the others names decide, whatever the clock was; numbers of
    epochs and iterations are not compared.

    Args:
        work_dir: of the training, with the name of its last checkpoint.
        others: more folders that its checkpoints may be in.
    """
    found = [path for folder in (work_dir, *others) for path in folder.glob('*.pth')]
    paths = {path for path in found if NUMBERED.fullmatch(path.name)}
    last = work_dir / 'last_checkpoint'
    named = last.read_text(errors='replace').strip() if last.is_file() else ''
    if named and Path(named).exists():  # perhaps in another folder, or of another name
        paths = {path for path in paths if not (path.exists() and path.samefile(named))}
        paths.add(Path(named))
        if _is_whole(Path(named)):
            paths = {path for path in paths if _saved_at(path) >= _saved_at(Path(named))}
    kinds = {path.name.rpartition('_')[0] for path in paths}
    broken: list[Path] = []
    for path in sorted(paths, key=_iteration if len(kinds) > 1 else _number, reverse=True):
        if _is_whole(path):
            return path, broken
        broken.append(path)
    return None, broken


def find_other_folders(cfg: Config) -> list[Path]:
    """Return the local folder outside of the work dir that MMEngine's hook saves to, if any."""
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = str(saving.get('out_dir') or '')
    return [Path(folder) / Path(cfg.work_dir).name] if folder and '://' not in folder else []


def compare_losses(path: Path, trained: dict[str, Any], cfg: Config) -> list[str]:
    """Return the settings of the losses that a checkpoint's training had otherwise.

    Args:
        path: of the checkpoint.
        trained: the config in it.
        cfg: the config now.

    Raises:
        ValueError: the losses are others, by class or by place.
    """
    before, now = find_losses(trained.get('model')), find_losses(cfg.get('model'))
    if not before:  # of a program that keeps no config in its checkpoints
        return []
    names = [{where: _kind(loss) for where, loss in each.items()} for each in (before, now)]
    if names[0] != names[1]:
        was, is_now = (', '.join(sorted(set(each.values()))) for each in names)
        raise ValueError(
            f'{path} was trained with {was}, the config has {is_now}: give this training a '
            '--work-dir of its own. To start from the weights alone, leave out --resume and set '
            f'--cfg-options load_from={path}'
        )
    return [
        f'{where}.{name} is {now[where].get(name, MISSING)!r}, and was '
        f'{before[where].get(name, MISSING)!r} in {path}.'
        for where in now
        for name in sorted({*before[where], *now[where]} - {'type'})
        if _plain(before[where].get(name)) != _plain(now[where].get(name))
    ]


def compare_schedules(path: Path, trained: dict[str, Any], cfg: Config) -> list[str]:
    """Return the settings that MMEngine replaces by those of a checkpoint, where these differ.

    It loads parameter groups with their learning rates, and schedules with their ends: a training
    that is resumed for more iterations goes on with the schedule for fewer.

    Args:
        path: of the checkpoint.
        trained: the config in it.
        cfg: the config now.
    """
    if not trained:
        return []
    now = _parse(cfg.pretty_text)  # as the checkpoint's was written
    return [
        f'{place} is {_at(now, place)!r} in the config, and was {_at(trained, place)!r} in {path}, '
        'from which MMEngine takes what both have. For the values of the config, begin a training '
        f'with a --work-dir of its own and --cfg-options load_from={path}, without --resume.'
        for place in REPLACED
        if _at(now, place) != _at(trained, place)
    ]


def _at(settings: Any, place: str) -> Any:
    for name in place.split('.'):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def find_losses(settings: Any, where: str = 'model') -> dict[str, dict[str, Any]]:
    """Find every ``loss_decode`` below settings, by its place."""
    return dict(_losses(settings, where))


def _losses(settings: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(settings, (list, tuple)):
        for number, each in enumerate(settings):
            yield from _losses(each, f'{where}[{number}]')
    elif isinstance(settings, dict):
        for name, value in settings.items():
            here = f'{where}.{name}'
            if name == 'loss_decode' and isinstance(value, dict):
                yield here, value
            elif name == 'loss_decode':
                yield from ((f'{here}[{i}]', each) for i, each in enumerate(value or ()))
            else:
                yield from _losses(value, here)


def read_config(path: Path) -> dict[str, Any]:
    """Read the config that mmengine keeps in a checkpoint, without running any of it.

    Returns:
        The settings that are written as literals and calls of ``dict``; empty without a config.
    """
    return _parse(_read_meta(path).get('cfg', ''))


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        return dict(checkpoint.get('meta', {}))
    except Exception:  # whoever loads it next says what is wrong with it
        return {}


def _parse(text: str) -> dict[str, Any]:
    settings = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            settings[statement.targets[0].id] = _literal(statement.value)
    return settings


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {each.arg: _literal(each.value) for each in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _literal(key) for key in node.keys]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _plain(value: Any) -> Any:
    """Return a tuple as the list that it may be written as."""
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _kind(loss: Any) -> str:
    kind = loss.get('type') if isinstance(loss, dict) else loss
    return getattr(find_class(kind, MODELS), '__name__', str(kind))


def _is_whole(path: Path) -> bool:
    return path.is_dir() or is_whole_archive(path)


def _saved_at(path: Path) -> int:
    return path.stat(follow_symlinks=path.exists()).st_mtime_ns


def _iteration(path: Path) -> int:
    return _read_meta(path).get('iter', _number(path))


def _number(path: Path) -> int:
    found = NUMBERED.fullmatch(path.name)
    return int(found[1]) if found else -1


def _named(paths: list[Path]) -> str:
    return ', '.join(f'{path.name} ({path.lstat().st_size} bytes)' for path in paths)
