"""Write the few-line child of a config that trains it with the RMI loss.

    python tools/swap_loss.py mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py
    python tools/swap_loss.py my_config.py -o my_config_rmi.py --auxiliary
    python tools/swap_loss.py my_config.py --beside

Says of each head what it does with it, and why.
"""

import argparse
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmseg_rmi import launch  # first, for OneDL to be quiet

# isort: split
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from rich.console import Console
from torch import nn

from mmseg_rmi.decode_heads import streamed_heads
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss
from mmseg_rmi.test_time.probabilities import find_activation
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

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
    twin.__mro__[2]: name
    for name, twin in vars(streamed_heads).items()
    if name.startswith('RMI') and issubclass(twin, streamed_heads.RegionLossMixin)
}
# What belongs to a run and not to a recipe, and its value where nothing is set. A config that
# a run left in its folder has them.
RUN_STATE = {
    'work_dir': None,
    'resume': False,
    'load_from': None,
    'experiment_name': None,
    'launcher': 'none',
}


class NotApplicable(ValueError):
    """RMI cannot train this config."""


def find_class(kind: Any) -> type | None:
    """Find the class of a model's ``type=``; None of what is neither a class nor a name of one."""
    found = launch.find_class(kind, MODELS) if isinstance(kind, (str, type)) else None
    return found if isinstance(found, type) else None


def show_kind(kind: Any) -> str:
    """Show the class of a ``type=`` by its name alone."""
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]


def bases_of(kind: Any) -> list[str]:
    """Names of the class of a ``type=`` and of those that it inherits from."""
    found = find_class(kind)
    return [show_kind(kind)] if found is None else [base.__name__ for base in found.__mro__]


def trains_regions(loss: ConfigDict) -> bool:
    """Tell whether a loss is RMI, whatever it is called."""
    return 'RMILoss' in bases_of(loss.type)


def is_softmax_cross_entropy(loss: ConfigDict, head: ConfigDict) -> bool:
    """Tell whether a loss is what ``RMILoss(pixel_term='ce')`` has as its pixel-wise term.

    With class weights it is not: MMSegmentation divides by the weights of the pixels, not their
    number.
    """
    channels = head.get('out_channels') or head.get('num_classes')
    others = any(loss.get(name) for name in ('use_sigmoid', 'use_mask', 'class_weight'))
    mean = loss.get('reduction', 'mean') == 'mean'
    return find_class(loss.type) is CrossEntropyLoss and mean and not others and channels != 1


def with_type(settings: Any, where: str) -> ConfigDict:
    """Return settings that have a type, or refuse them."""
    if isinstance(settings, dict) and isinstance(settings.get('type'), (str, type)):
        return ConfigDict(settings)
    raise NotApplicable(f'{where} must be a dict with a type, got {str(settings)[:80]}')


@dataclass(frozen=True)
class Expression:
    """Python in the child: an element of its base, say, with some of its settings replaced."""

    expression: str
    changes: dict[str, Any] = field(default_factory=dict)


CROSS_ENTROPY_SHARE = Expression('2 / 3')  # of both terms: a weight of 1, and REGION_WEIGHT


@dataclass
class Swap:
    """The settings to change, and one line for each decision: about what, what, and why.

    Args:
        auxiliary: whether auxiliary heads are changed as well.
        beside: whether heads keep their losses, to which half a region term is added.
        scope: prefix of names for a config whose ``default_scope`` is not MMSegmentation's.
    """

    auxiliary: bool = False
    beside: bool = False
    scope: str = ''
    decisions: list[tuple[str, str, str]] = field(default_factory=list)
    losses_hide_activation: bool = False

    def note(self, where: str, what: str, why: str) -> None:
        self.decisions.append((where, what, why))

    def model(self, model: ConfigDict) -> dict[str, Any]:
        """Find the changes to the heads of a model."""
        if not isinstance(model, dict) or model.get('decode_head') is None:
            raise NotApplicable(
                f'the model {getattr(model, "type", model)} has no decode_head, where RMI could go'
            )
        changes = {'decode_head': self.heads(model['decode_head'], 'decode_head')}
        if model.get('auxiliary_head'):
            changes['auxiliary_head'] = self.heads(model['auxiliary_head'], 'auxiliary_head')
        if not changes['decode_head']:
            raise NotApplicable('the decode_head learns boundaries, not classes')
        return {name: change for name, change in changes.items() if change}

    def heads(self, heads: Any, name: str) -> Any:
        """Find the changes to one head, or to a list of them; of a cascade the last one is main."""
        if not isinstance(heads, (list, tuple)):
            return self.head(heads, name, main=name == 'decode_head')
        if not heads:
            raise NotApplicable(f'{name} is an empty list')
        items = []
        for number, head in enumerate(heads):
            main = name == 'decode_head' and number == len(heads) - 1
            changes = self.head(head, f'{name}[{number}]', main)
            items.append(Expression(f'_base_.model.{name}[{number}]', _without_delete(changes)))
        return items if any(item.changes for item in items) else None

    def head(self, head: ConfigDict, where: str, main: bool) -> dict[str, Any]:
        """Find the changes to one head."""
        head = with_type(head, where)
        kind, kinds = show_kind(head.type), bases_of(head.type)
        for base in kinds:
            if base in REFUSED:
                raise NotApplicable(f'{where}, {kind}: {REFUSED[base]}')
        if any(base in BOUNDARY_HEADS for base in kinds):
            self.note(where, 'kept', f'{kind} learns boundaries, not classes')
            return {}
        if not main and not self.auxiliary:
            self.note(where, 'kept', 'it only helps the training; --auxiliary swaps its loss too')
            return {}
        if 'kernel_generate_head' in head:  # K-Net: holds the loss of all stages
            self.losses_hide_activation = True
            inner = self.head(head.kernel_generate_head, f'{where}.kernel_generate_head', main)
            return {'kernel_generate_head': inner}
        self.check_class(head, where)
        by_number = next((base for base in kinds if base in ROLES), None)
        changes: dict[str, Any] = {}
        if self.beside:
            changes.update(self.losses_beside(head, by_number, where))
        elif by_number:
            self.losses_hide_activation = True
            changes['loss_decode'] = self.losses_by_role(head, by_number, where)
        else:
            changes.update(self.twin(head, where))
            changes['loss_decode'] = self.loss(head, where)
        if head.get('sampler') is not None:
            changes['sampler'] = None
            sampler = show_kind(with_type(head.sampler, f'{where}.sampler').type)
            self.note(where, 'sampler=None', f'{sampler} needs a loss for each pixel')
        return changes

    def check_class(self, head: ConfigDict, where: str) -> None:
        """Refuse heads whose losses are not those of a decode head; speak of unknown ones."""
        kind, found = show_kind(head.type), find_class(head.type)
        if found is None:
            self.note(where, 'not checked', f'{kind} is not registered here')
        elif not issubclass(found, BaseDecodeHead):
            raise NotApplicable(f'{where}: {kind} is not a BaseDecodeHead, and has its own losses')
        elif not found.__module__.startswith(('mmseg.', 'mmseg_rmi.')) and (
            found.loss_by_feat is not BaseDecodeHead.loss_by_feat  # type: ignore[attr-defined]
        ):
            self.note(where, 'look at it', f'{kind} calls its losses in a loss_by_feat of its own')

    def twin(self, head: ConfigDict, where: str) -> dict[str, Any]:
        kind, found = show_kind(head.type), find_class(head.type)
        if found in TWINS:
            why = 'the same head, which streams the loss to save memory'
            self.note(where, TWINS[found], why)
            return {'type': self.scope + TWINS[found]}
        if found is not None and issubclass(found, streamed_heads.RegionLossMixin):
            return {}
        self.note(where, f'{kind} as it is', 'it has no variant that streams the loss')
        return {}

    def loss(self, head: ConfigDict, where: str) -> dict[str, Any]:
        """Put one RMI loss in the place of all that a head has."""
        losses, names = self.present_losses(head, where)
        why = 'RMI has a pixel-wise and a region term'
        self.note(where, f'{names} -> RMILoss', why)
        new = {
            'type': f'{self.scope}RMILoss',
            **self.weight(losses[0], where),
            **self.class_weight(losses, where),
        }
        return {'_delete_': True, **new} if 'loss_decode' in head else new

    def losses_beside(self, head: ConfigDict, by_number: str | None, where: str) -> dict[str, Any]:
        """Keep what a head is trained with, and add half a region term."""
        if by_number:
            raise NotApplicable(
                f'{where}: {by_number} looks its losses up by number, one more has no place; leave '
                'out --beside'
            )
        losses, names = self.present_losses(head, where)
        if len(losses) == 1 and is_softmax_cross_entropy(losses[0], head):
            return {**self.twin(head, where), 'loss_decode': self.with_regions(head, where)}
        self.losses_hide_activation = True
        weight = REGION_WEIGHT * self.weight_of(losses[0], where)
        self.note(where, f'{names} + RMILoss', 'of which the region term alone is taken')
        here = f'_base_.model.{where}.loss_decode'
        if 'loss_decode' not in head:
            kept: list[Any] = [dict(DEFAULT_LOSS)]
        elif isinstance(head.loss_decode, (list, tuple)):
            kept = [Expression(f'{here}[{number}]') for number in range(len(losses))]
        else:
            kept = [Expression(here)]
        rmi = f'{self.scope}RMILoss'
        return {'loss_decode': [*kept, {'type': rmi, 'loss_lambda': 0.0, 'loss_weight': weight}]}

    def with_regions(self, head: ConfigDict, where: str) -> dict[str, Any]:
        """Put softmax cross entropy and half a region term, in one loss, in the place of it."""
        (loss,), name = self.present_losses(head, where)
        self.note(
            where,
            f'{name} -> RMILoss',
            'the same cross entropy, averaged over pixels that are not ignored, and half a region '
            'term',
        )
        new = {
            'type': f'{self.scope}RMILoss',
            'pixel_term': 'ce',
            'loss_lambda': CROSS_ENTROPY_SHARE,
            'loss_weight': (1 + REGION_WEIGHT) * self.weight_of(loss, where),
        }
        return {'_delete_': True, **new} if 'loss_decode' in head else new

    def present_losses(self, head: ConfigDict, where: str) -> tuple[list[ConfigDict], str]:
        """The losses that a head is trained with, and their names."""
        old = head.get('loss_decode', DEFAULT_LOSS)
        listed = list(old) if isinstance(old, (list, tuple)) else [old]
        if not listed:
            raise NotApplicable(f'{where}.loss_decode is an empty list')
        losses = [with_type(each, f'{where}.loss_decode') for each in listed]
        names = ' + '.join(show_kind(each.type) for each in losses)
        if any(trains_regions(each) for each in losses):
            raise NotApplicable(f'{where} is trained with {names} already')
        return losses, names

    def losses_by_role(self, head: ConfigDict, kind: str, where: str) -> list[Any]:
        """Replace the losses of a head that looks them up by number."""
        roles = ROLES[kind]
        present, _ = self.present_losses(head, where)
        if len(present) != len(roles):
            raise NotApplicable(f'{where}: {kind} needs a list of {len(roles)} losses')
        losses: list[Any] = []
        for number, (role, loss) in enumerate(zip(roles, present, strict=True)):
            here = f'{where}.loss_decode[{number}]'
            name = show_kind(loss.type)
            if role == 'main' or (role == 'auxiliary' and self.auxiliary):
                self.note(here, f'{name} -> RMILoss', f'it is the {role} branch')
                losses.append(self.replacement('RMILoss', loss, here))
            elif role == 'pixels':
                why = 'on the main logits again, at boundaries alone, where no regions are whole'
                self.note(here, f'{name} -> {PIXEL_LOSS}', why)
                losses.append(self.replacement(PIXEL_LOSS, loss, here))
            else:
                hint = '; --auxiliary gives it RMI as well' if role == 'auxiliary' else ''
                self.note(here, 'kept', f'it is the {role} branch{hint}')
                losses.append(Expression(f'_base_.model.{here}'))
        return losses

    def replacement(self, kind: str, loss: ConfigDict, where: str) -> dict[str, Any]:
        """Put a loss of this project in the place of another, with its weights."""
        weights = {**self.weight(loss, where), **self.class_weight([loss], where)}
        return {'type': self.scope + kind, **weights}

    def weight(self, loss: ConfigDict, where: str) -> dict[str, float]:
        weight = self.weight_of(loss, where)
        if weight == 1:
            return {}
        self.note(where, f'loss_weight={weight}', f'as of {show_kind(loss.type)}')
        return {'loss_weight': weight}

    @staticmethod
    def weight_of(loss: ConfigDict, where: str) -> float:
        weight = loss.get('loss_weight', 1.0)
        if isinstance(weight, (int, float)):
            return weight
        raise NotApplicable(f'{where}: loss_weight of {show_kind(loss.type)} is {weight!r}')

    def class_weight(self, losses: list[ConfigDict], where: str) -> dict[str, Any]:
        """Keep the class weights of the first loss that has some, for the pixel-wise term."""
        weighted = [each for each in losses if each.get('class_weight') is not None]
        if not weighted:
            return {}
        self.note(where, 'class_weight kept', f'as of {show_kind(weighted[0].type)}, by pixels')
        return {'class_weight': weighted[0].class_weight}

    def fusion(self, settings: ConfigDict) -> dict[str, Any]:
        """Find the test-time fusion that takes the place of an average over softmax."""
        fusion = settings.get('tta_model')
        if not isinstance(fusion, dict):
            return {}
        if find_class(fusion.get('type')) is not SegTTAModel:
            return {}
        new = {'type': f'{self.scope}ProbabilityTTAModel'}
        if self.losses_hide_activation:  # it would ask the losses of the head
            new['activation'] = 'sigmoid'
        self.note(
            'tta_model',
            'ProbabilityTTAModel',
            'averages sigmoids, for which RMI trains, instead of softmax',
        )
        return new

    def activation(self, settings: ConfigDict) -> dict[str, dict[str, str]]:
        """Tell this project's fusion and CRF what losses beside RMI leave them to guess."""
        if not self.losses_hide_activation:
            return {}
        asking = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}
        places = [
            name
            for name, kind in asking.items()
            if isinstance(found := settings.get(name), dict)
            and show_kind(found.get('type')) == kind
            and not found.get('activation')
        ]
        if not places:
            return {}
        head = settings.model.decode_head
        head = head[-1] if isinstance(head, (list, tuple)) else head
        losses, names = self.present_losses(head, 'decode_head')
        if any(find_class(loss.type) is None for loss in losses):
            why = f'{names} is not registered here; after softmax it is activation=softmax'
            self.note(', '.join(places), 'look at it', why)
            return {}
        built = nn.ModuleList(MODELS.build(loss) for loss in losses)
        try:
            said = find_activation(
                SimpleNamespace(out_channels=head.get('out_channels'), loss_decode=built)
            )
        except ValueError:
            why = f'{names} train both softmax and sigmoids: set its activation to one of them'
            self.note(', '.join(places), 'look at it', why)
            return {}
        for name in places:
            self.note(name, f'activation={said!r}', f'as of {names}; RMILoss alone is of sigmoid')
        return {name: {'activation': said} for name in places}

    def run_state(self, settings: ConfigDict) -> dict[str, Any]:
        """Find what the config has of a run, and give the child none of it."""
        changes = {}
        for name, unset in RUN_STATE.items():
            found = settings.get(name)
            if found is not None and found != unset:
                self.note(name, f'{found!r} -> {unset!r}', 'it belongs to the run of the base')
                changes[name] = unset
        return changes


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
    if isinstance(value, Expression):
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
    if '::' not in config and config.endswith('.py') and is_pure_python(config):
        raise NotApplicable(
            'it is a pure-Python config, whose child is Python as well. Add to it, or to one that '
            'reads it: from mmseg_rmi.losses import RMILoss; '
            "model['decode_head']['loss_decode'] = dict(type=RMILoss)"
        )
    with tempfile.TemporaryDirectory() as folder:
        child = Path(folder) / 'child.py'
        base = config if '::' in config else str(Path(config).resolve())
        child.write_text(f'_base_ = {base!r}\n')
        return launch.load_config(child, config, import_custom_modules=False)._cfg_dict


def is_pure_python(config: str) -> bool:
    """Tell whether MMEngine reads a file as a module (a "lazy" config), which none can inherit."""
    try:
        return 'read_base()' in Path(config).read_text() or Config._is_lazy_import(config)
    except SyntaxError:  # told by whoever reads it
        return False


def name_child(config: str, beside: bool = False) -> Path:
    """Find where the child goes: beside its base, or here if that is MMSegmentation's.

    ``_4xb4-20k_`` becomes ``_4xb4-rmi-20k_``, as config names say their settings; other names end
    in ``_rmi``. The region term beside other losses is ``ce-rmi``.
    """
    path = Path(config.split('/')[-1]) if '::' in config else Path(config)
    path = path.with_suffix('.py')  # of a JSON or YAML config, too

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
    ours = settings.get('default_scope') in (None, 'mmseg')
    swap = Swap(auxiliary, beside, scope='' if ours else 'mmseg.')
    imports = settings.get('custom_imports')
    if not isinstance(imports, (dict, type(None))):
        raise NotApplicable(f"custom_imports must be dict(imports=['...']), got {imports!r}")
    if settings.get('model') is None:
        raise NotApplicable(f'{config} has no model')
    changes = {**swap.run_state(settings), 'model': swap.model(settings.model)}
    changes |= swap.activation(settings) if beside else {'tta_model': swap.fusion(settings)}
    changes = {name: value for name, value in changes.items() if value or name in RUN_STATE}
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
        kind = loss.get('type') if isinstance(loss, dict) else None
        if find_class(kind) in (RMILoss, SigmoidCrossEntropyLoss):
            MODELS.build(loss)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a config of MMSegmentation with RMI')
    parser.add_argument('config', help="a config file, or 'mmseg::family/name.py'")
    parser.add_argument('-o', '--out', type=Path, help='the file to write')
    parser.add_argument(
        '--auxiliary', action='store_true', help='give auxiliary heads RMI as well, at their weight'
    )
    parser.add_argument(
        '--beside', action='store_true', help='keep the losses, and add half a region term'
    )
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or name_child(args.config, args.beside)
    console = Console()
    init_default_scope('mmseg')
    try:
        decisions = swap_loss(args.config, out, args.auxiliary, args.beside)
    except NotApplicable as error:
        raise NotApplicable(f'{args.config} is left as it is: {error}') from error
    for where, what, why in decisions:
        console.print(f'[bold]{where}[/]: {what} ({why})', highlight=False, soft_wrap=True)
    console.print(f'Wrote {out}:\n')
    console.print(out.read_text(), highlight=False, markup=False, soft_wrap=True)
    child, own = shlex.quote(str(out)), 'path/to/mmsegmentation/tools/train.py'
    for told in (
        f'Train it: python tools/train.py {child}',
        f"or with MMSegmentation's own: python -m mmseg_rmi {own} {child}",  # for 'mmseg::' bases
    ):
        console.print(told, highlight=False, soft_wrap=True)


if __name__ == '__main__':
    run_tool(main)
