"""Options and decisions of a swap, and how it reads the settings of a model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS

from mmseg_rmi.utils import config_types

DEFAULT_LOSS = ConfigDict(type='CrossEntropyLoss')  # of a decode head that names none


class NotApplicable(ValueError):
    """RMI cannot train this config."""


@dataclass
class Swap:
    """The options of a swap, and one line for each decision: about what, what, and why.

    Args:
        auxiliary: whether auxiliary heads are changed as well.
        beside: whether heads keep their losses, to which half a region term is added.
        scope: prefix of names for a config whose ``default_scope`` is not MMSegmentation's.
    """

    auxiliary: bool = False
    beside: bool = False
    scope: str = ''
    decisions: list[tuple[str, str, str]] = field(default_factory=list)
    losses_hide_activation: bool = False  # a head's losses do not show what it was trained for

    def note(self, where: str, what: str, why: str) -> None:
        self.decisions.append((where, what, why))

    def name(self, kind: str) -> str:
        """Name a class of this project as the config can find it."""
        return self.scope + kind


def find_class(kind: Any) -> type | None:
    """Find the class of a model's ``type=``; None of what is neither a class nor a name of one."""
    found = config_types.find_class(kind, MODELS) if isinstance(kind, (str, type)) else None
    return found if isinstance(found, type) else None


def is_pure_python(config: str) -> bool:
    """Tell whether MMEngine reads a file as a module (a "lazy" config), which none can inherit."""
    try:
        return 'read_base()' in Path(config).read_text() or Config._is_lazy_import(config)
    except (SyntaxError, UnicodeDecodeError):  # told by whoever reads it
        return False


def show_kind(kind: Any) -> str:
    """Show the class of a ``type=`` by its name alone."""
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]


def bases_of(kind: Any) -> list[str]:
    """List the names of the class of a ``type=`` and of those that it inherits from."""
    found = find_class(kind)
    return [show_kind(kind)] if found is None else [base.__name__ for base in found.__mro__]


def with_type(settings: Any, where: str) -> ConfigDict:
    """Return settings that have a type, or refuse them."""
    if not isinstance(settings, dict) or not isinstance(settings.get('type'), (str, type)):
        raise NotApplicable(f'{where} must be a dict with a type, got {str(settings)[:80]}')
    found = config_types.find_class(settings['type'], MODELS)
    if not isinstance(found, (type, NoneType)):
        raise NotApplicable(f'{where}: {settings["type"]} is not a class; name one as its type')
    return ConfigDict(settings)


def losses_of(head: ConfigDict, where: str) -> tuple[list[ConfigDict], str]:
    """Return the losses that a head is trained with, and their names.

    Raises:
        NotApplicable: there is none, or one is not a loss, or RMI already.
    """
    found = head.get('loss_decode', DEFAULT_LOSS)
    listed = list(found) if isinstance(found, (list, tuple)) else [found]
    if not listed:
        raise NotApplicable(f'{where}.loss_decode is an empty list')
    losses = [with_type(each, f'{where}.loss_decode') for each in listed]
    names = ' + '.join(show_kind(each.type) for each in losses)
    if any('RMILoss' in bases_of(each.type) for each in losses):
        raise NotApplicable(f'{where} is trained with {names} already')
    return losses, names


def all_losses(settings: Any) -> Iterator[ConfigDict]:
    """Find all losses of the heads in a model's settings."""
    if isinstance(settings, (list, tuple)):
        for each in settings:
            yield from all_losses(each)
    elif isinstance(settings, dict):
        for name, value in settings.items():
            if name == 'loss_decode':
                yield from value if isinstance(value, (list, tuple)) else [value]
            else:
                yield from all_losses(value)
