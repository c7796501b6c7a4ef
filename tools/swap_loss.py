"""Write the few-line child of a config that trains it with the RMI loss.

    python tools/swap_loss.py mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py
    python tools/swap_loss.py my_config.py -o my_config_rmi.py --auxiliary
    python tools/swap_loss.py my_config.py --beside

Says of each head what it does with it, and why.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from rich.console import Console
from torch import nn

from mmseg_rmi.decode_heads import streamed_heads
from mmseg_rmi.test_time.probabilities import find_activation

PIXEL_LOSS = 'SigmoidCrossEntropyLoss'
DEFAULT_LOSS = ConfigDict(type='CrossEntropyLoss')  # of a decode head that names none
REGION_WEIGHT = 0.5  # of the region term beside a pixel-wise loss of weight 1, as within RMI
REFUSED = {
    'PointHead': 'PointRend trains it on single points, which form no regions',
    'MaskFormerHead': 'it classifies whole masks that are matched to the truth, and no pixels',
    'Mask2FormerHead': 'it classifies whole masks that are matched to the truth, and no pixels',
    'SideAdapterCLIPHead': 'it classifies whole masks that are matched to the truth, and no pixels',
    'VPDDepthHead': 'it estimates depth, and has no classes',
}
# Heads that look their losses up by number, and what each of those is for.
ROLES = {
    'DDRHead': ('main', 'auxiliary'),
    'PIDHead': ('auxiliary', 'main', 'boundary', 'pixels'),
}
BOUNDARY_HEADS = ('STDCHead',)
TWINS = {
    twin.__mro__[2].__name__: name
    for name, twin in vars(streamed_heads).items()
    if name.startswith('RMI') and issubclass(twin, streamed_heads.RegionLossMixin)
}


class NotApplicable(ValueError):
    """RMI cannot train this config."""


@dataclass(frozen=True)
class Inherited:
    """An element of a list of the base config, with some of its settings replaced."""

    expression: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Swap:
    """The settings to change, and one line for each decision: about what, what, and why.

    Args:
        auxiliary: whether auxiliary heads are changed as well.
        beside: whether heads keep their losses, with the region term alone beside them.
    """

    auxiliary: bool = False
    beside: bool = False
    decisions: list[tuple[str, str, str]] = field(default_factory=list)
    losses_hide_activation: bool = False

    def note(self, where: str, what: str, why: str) -> None:
        self.decisions.append((where, what, why))

    def model(self, model: ConfigDict) -> dict[str, Any]:
        """Find the changes to the heads of a model."""
        if 'decode_head' not in model:
            raise NotApplicable(f'the model {model.get("type")} has no decode_head')
        changes = {'decode_head': self.heads(model.decode_head, 'decode_head')}
        if model.get('auxiliary_head'):
            changes['auxiliary_head'] = self.heads(model.auxiliary_head, 'auxiliary_head')
        return {name: change for name, change in changes.items() if change}

    def heads(self, heads: Any, name: str) -> Any:
        """Find the changes to one head, or to a list of them; of a cascade the last one is main."""
        if not isinstance(heads, (list, tuple)):
            return self.head(heads, name, main=name == 'decode_head')
        items = []
        for number, head in enumerate(heads):
            main = name == 'decode_head' and number == len(heads) - 1
            changes = self.head(head, f'{name}[{number}]', main)
            items.append(Inherited(f'_base_.model.{name}[{number}]', _without_delete(changes)))
        return items if any(item.changes for item in items) else None

    def head(self, head: ConfigDict, where: str, main: bool) -> dict[str, Any]:
        """Find the changes to one head."""
        kind = head.type.split('.')[-1]
        if kind in REFUSED:
            raise NotApplicable(f'{where}, {kind}: {REFUSED[kind]}')
        if kind in BOUNDARY_HEADS:
            self.note(where, 'kept', f'{kind} learns boundaries and not classes')
            return {}
        if not main and not self.auxiliary:
            self.note(where, 'kept', 'it only helps the training; --auxiliary gives it RMI as well')
            return {}
        if 'kernel_generate_head' in head:  # K-Net: holds the loss of all stages
            self.losses_hide_activation = True
            inner = self.head(head.kernel_generate_head, f'{where}.kernel_generate_head', main)
            return {'kernel_generate_head': inner}
        self.check_class(kind, where)
        changes: dict[str, Any] = {}
        if self.beside:
            changes['loss_decode'] = self.losses_beside(head, kind, where)
        elif kind in ROLES:
            self.losses_hide_activation = True
            changes['loss_decode'] = self.losses_by_role(head, kind, where)
        else:
            changes.update(self.twin(kind, where))
            changes['loss_decode'] = self.loss(head, where)
        if head.get('sampler') is not None:
            changes['sampler'] = None
            self.note(where, 'sampler=None', f'{head.sampler.type} needs a loss for each pixel')
        return changes

    def check_class(self, kind: str, where: str) -> None:
        """Refuse heads whose losses are not those of a decode head; speak of unknown ones."""
        found = MODELS.get(kind)
        if found is None:
            self.note(where, 'not checked', f'{kind} is not registered here')
        elif not issubclass(found, BaseDecodeHead):
            raise NotApplicable(f'{where}: {kind} is not a BaseDecodeHead, its losses are its own')
        elif not found.__module__.startswith(('mmseg.', 'mmseg_rmi.')) and (
            found.loss_by_feat is not BaseDecodeHead.loss_by_feat
        ):
            self.note(where, 'look at it', f'{kind} calls its losses in a loss_by_feat of its own')

    def twin(self, kind: str, where: str) -> dict[str, Any]:
        if kind in TWINS:
            self.note(where, TWINS[kind], 'the same head, streams the loss and so saves memory')
            return {'type': TWINS[kind]}
        if kind in TWINS.values():
            return {}
        self.note(where, f'{kind} as it is', 'it has no twin that streams the loss')
        return {}

    def loss(self, head: ConfigDict, where: str) -> dict[str, Any]:
        """Put one RMI loss in the place of all that a head has."""
        losses, names = self.present_losses(head, where)
        why = 'RMI holds a pixel-wise and a region term itself'
        self.note(where, f'{names} -> RMILoss', why)
        self.note_class_weights(losses, where)
        new = {'type': 'RMILoss', **self.weight(losses[0], where)}
        return {'_delete_': True, **new} if 'loss_decode' in head else new

    def losses_beside(self, head: ConfigDict, kind: str, where: str) -> list[Any]:
        """Keep the losses that a head has, and put the region term of RMI beside them."""
        if kind in ROLES:
            raise NotApplicable(
                f'{where}: {kind} looks its losses up by number, one more has no place; leave out '
                '--beside'
            )
        losses, names = self.present_losses(head, where)
        weight = REGION_WEIGHT * losses[0].get('loss_weight', 1.0)
        self.note(where, f'{names} + RMILoss', 'of which the region term alone is taken')
        here = f'_base_.model.{where}.loss_decode'
        if 'loss_decode' not in head:
            kept = [dict(DEFAULT_LOSS)]
        elif isinstance(head.loss_decode, (list, tuple)):
            kept = [Inherited(f'{here}[{number}]') for number in range(len(losses))]
        else:
            kept = [Inherited(here)]
        return [*kept, {'type': 'RMILoss', 'loss_lambda': 0.0, 'loss_weight': weight}]

    def present_losses(self, head: ConfigDict, where: str) -> tuple[list[ConfigDict], str]:
        """The losses that a head is trained with, and their names."""
        old = head.get('loss_decode', DEFAULT_LOSS)
        losses = list(old) if isinstance(old, (list, tuple)) else [old]
        names = ' + '.join(each.type for each in losses)
        if any(each.type == 'RMILoss' for each in losses):
            raise NotApplicable(f'{where} is trained with {names} already')
        return losses, names

    def losses_by_role(self, head: ConfigDict, kind: str, where: str) -> list[Any]:
        """Replace the losses of a head that looks them up by number."""
        roles = ROLES[kind]
        if not isinstance(head.loss_decode, (list, tuple)) or len(head.loss_decode) != len(roles):
            raise NotApplicable(f'{where}: {kind} needs a list of {len(roles)} losses')
        losses = []
        for number, (role, loss) in enumerate(zip(roles, head.loss_decode, strict=True)):
            here = f'{where}.loss_decode[{number}]'
            if role == 'main' or (role == 'auxiliary' and self.auxiliary):
                self.note(here, f'{loss.type} -> RMILoss', f'it is the {role} branch')
                losses.append({'type': 'RMILoss', **self.weight(loss, here)})
            elif role == 'pixels':
                why = 'on the main logits again, at boundaries alone, where no regions are whole'
                self.note(here, f'{loss.type} -> {PIXEL_LOSS}', why)
                losses.append({'type': PIXEL_LOSS, **self.weight(loss, here)})
            else:
                hint = '; --auxiliary gives it RMI as well' if role == 'auxiliary' else ''
                self.note(here, 'kept', f'it is the {role} branch{hint}')
                losses.append(Inherited(f'_base_.model.{here}'))
                continue
            self.note_class_weights([loss], here)
        return losses

    def weight(self, loss: ConfigDict, where: str) -> dict[str, float]:
        weight = loss.get('loss_weight', 1.0)
        if weight == 1:
            return {}
        self.note(where, f'loss_weight={weight}', f'as of {loss.type}')
        return {'loss_weight': weight}

    def note_class_weights(self, losses: list[ConfigDict], where: str) -> None:
        if any(each.get('class_weight') for each in losses):
            self.note(where, 'class_weight dropped', 'RMI weighs all classes alike')

    def fusion(self, settings: ConfigDict) -> dict[str, Any]:
        """Find the test-time fusion that takes the place of an average over softmax."""
        if settings.get('tta_model', {}).get('type') != 'SegTTAModel':
            return {}
        new = {'type': 'ProbabilityTTAModel'}
        if self.losses_hide_activation:  # it would ask the losses of the head
            new['activation'] = 'sigmoid'
        self.note('tta_model', new['type'], 'averages sigmoids, which RMI trains, and no softmax')
        return new

    def activation(self, settings: ConfigDict) -> dict[str, dict[str, str]]:
        """Tell this project's fusion and CRF what losses beside RMI leave them to guess."""
        asking = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}
        places = [
            name
            for name, kind in asking.items()
            if (found := settings.get(name)) and found.type == kind and not found.get('activation')
        ]
        if not places:
            return {}
        head = settings.model.decode_head
        head = head[-1] if isinstance(head, (list, tuple)) else head
        losses, names = self.present_losses(head, 'decode_head')
        if any(MODELS.get(loss.type) is None for loss in losses):
            why = f'{names} is not registered here; after softmax it is activation=softmax'
            self.note(', '.join(places), 'look at it', why)
            return {}
        said = find_activation(
            SimpleNamespace(
                out_channels=head.get('out_channels'),
                loss_decode=nn.ModuleList(MODELS.build(loss) for loss in losses),
            )
        )
        for name in places:
            self.note(name, f'activation={said!r}', f'as of {names}; RMILoss alone is of sigmoid')
        return {name: {'activation': said} for name in places}


def _without_delete(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings for ``dict(base, ...)``, which replaces what a config's merge would merge."""
    if 'kernel_generate_head' in changes:
        raise NotApplicable('K-Net within a cascade is not known')
    return {
        name: {key: each for key, each in value.items() if key != '_delete_'}
        if isinstance(value, dict)
        else value
        for name, value in changes.items()
    }


def render(value: Any, indent: int = 0, column: int = 0) -> str:
    """Write settings as Python, on one line if it fits."""
    if isinstance(value, Inherited):
        if not value.changes:
            return value.expression
        parts, brackets = [value.expression, *_keywords(value.changes)], ('dict(', ')')
    elif isinstance(value, dict):
        parts, brackets = _keywords(value), ('dict(', ')')
    elif isinstance(value, list):
        parts, brackets = [('', each) for each in value], ('[', ']')
    else:
        return repr(value)
    line = brackets[0] + ', '.join(_render_part(part, indent) for part in parts) + brackets[1]
    if column + len(line) < 100 and '\n' not in line:
        return line
    pad = ' ' * (indent + 4)
    lines = [f'{pad}{_render_part(part, indent + 4)},\n' for part in parts]
    return f'{brackets[0]}\n{"".join(lines)}{" " * indent}{brackets[1]}'


def _keywords(settings: dict[str, Any]) -> list[Any]:
    return [(f'{name}=', value) for name, value in settings.items()]


def _render_part(part: str | tuple[str, Any], indent: int) -> str:
    if isinstance(part, str):
        return part
    name, value = part
    return name + render(value, indent, indent + len(name) + 1)


def read(config: str) -> ConfigDict:
    """Read a config, a file or ``mmseg::...``, without the modules that it wants imported."""
    if '::' not in config and 'read_base()' in Path(config).read_text():
        raise NotApplicable(
            f'{config} is a pure-Python config: its child must be written in Python'
        )
    with tempfile.TemporaryDirectory() as folder:
        child = Path(folder) / 'child.py'
        base = config if '::' in config else str(Path(config).resolve())
        child.write_text(f'_base_ = {base!r}\n')
        return Config.fromfile(child, import_custom_modules=False)._cfg_dict


def name_child(config: str, beside: bool = False) -> Path:
    """Where the child goes: beside its base, or here if that is MMSegmentation's.

    ``_4xb4-20k_`` becomes ``_4xb4-rmi-20k_``, as config names say their settings; other names end
    in ``_rmi``. The region term beside other losses is ``ce-rmi``.
    """
    path = Path(config.split('/')[-1]) if '::' in config else Path(config)

    def add_loss(found: re.Match) -> str:
        kept = (found[2] or 'ce-') if beside else ''
        return f'{found[1]}-{kept}rmi-'

    losses = r'(_\d+xb\d+)-(ce-(?:[\d.]+-dice-[\d.]+-)?)?'
    with_loss = re.sub(losses, add_loss, path.stem, count=1)
    ending = '_ce-rmi' if beside else '_rmi'
    return path.with_stem(path.stem + ending if with_loss == path.stem else with_loss)


def write_child(config: str, settings: ConfigDict, changes: dict[str, Any], out: Path) -> str:
    """Return the text of the child config, which changes these of its top-level settings."""
    base = config
    if '::' not in config:
        base = Path(os.path.relpath(config, out.resolve().parent)).as_posix()
    lines = [f'_base_ = {base!r}']
    imports = settings.get('custom_imports', {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    if 'mmseg_rmi' not in imports:
        imported = {'imports': [*imports, 'mmseg_rmi'], 'allow_failed_imports': False}
        lines.append(f'custom_imports = {render(imported, column=17)}')
    for name, value in changes.items():
        lines.append(f'{name} = {render(value, column=len(name) + 3)}')
    return '\n'.join(lines) + '\n'


def losses_of(settings: Any) -> Iterator[ConfigDict]:
    """All losses of the heads in a model's settings."""
    if isinstance(settings, (list, tuple)):
        for each in settings:
            yield from losses_of(each)
    elif isinstance(settings, dict):
        for name, value in settings.items():
            if name == 'loss_decode':
                yield from value if isinstance(value, (list, tuple)) else [value]
            else:
                yield from losses_of(value)


def swap_loss(
    config: str, out: Path, auxiliary: bool = False, beside: bool = False
) -> list[tuple[str, str, str]]:
    """Write the child config to ``out``, read it back, and return the decisions.

    Raises:
        NotApplicable: RMI cannot train this config; says why.
        FileExistsError: there is a file at ``out``.
    """
    if out.exists():
        raise FileExistsError(f'{out} exists: name another file with -o')
    settings = read(config)
    swap = Swap(auxiliary, beside)
    if 'model' not in settings:
        raise NotApplicable(f'{config} has no model')
    changes = {'model': swap.model(settings.model)}
    changes |= swap.activation(settings) if beside else {'tta_model': swap.fusion(settings)}
    changes = {name: value for name, value in changes.items() if value}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(write_child(config, settings, changes, out))
    try:
        check_losses(read(str(out)).model)
    except Exception:
        out.unlink()
        raise
    return swap.decisions


def check_losses(model: ConfigDict) -> None:
    """Build the losses of this project that a child has: the merge may have left an argument."""
    for loss in losses_of(model):
        if loss.type in ('RMILoss', PIXEL_LOSS):
            MODELS.build(loss)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a config of MMSegmentation with RMI')
    parser.add_argument('config', help="a config file, or 'mmseg::family/name.py'")
    parser.add_argument('-o', '--out', type=Path, help='the file to write')
    parser.add_argument(
        '--auxiliary', action='store_true', help='give auxiliary heads RMI as well, at their weight'
    )
    parser.add_argument(
        '--beside', action='store_true', help='keep the losses, with the region term beside them'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or name_child(args.config, args.beside)
    console = Console()
    init_default_scope('mmseg')
    try:
        decisions = swap_loss(args.config, out, args.auxiliary, args.beside)
    except (ValueError, OSError) as error:
        raise SystemExit(f'{args.config} is left as it is: {error}') from error
    for where, what, why in decisions:
        console.print(f'[bold]{where}[/]: {what} ({why})', highlight=False, soft_wrap=True)
    console.print(f'Wrote {out}:\n')
    console.print(out.read_text(), highlight=False, markup=False, soft_wrap=True)


if __name__ == '__main__':
    main()
