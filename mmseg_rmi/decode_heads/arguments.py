"""Arguments of one head that a config passes to another."""

from collections.abc import Mapping
from inspect import signature
from typing import Any


def refuse_other_arguments(head: type, arguments: Mapping[str, Any]) -> None:
    """Raise a TypeError if no class that a head inherits from has these arguments.

    Example:
        >>> from mmseg.models.decode_heads import FCNHead
        >>> refuse_other_arguments(FCNHead, dict(num_convs=1, num_classes=2))
    """
    constructors = [vars(base)['__init__'] for base in head.__mro__ if '__init__' in vars(base)]
    known = {name for constructor in constructors for name in signature(constructor).parameters}
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise TypeError(
            f'{head.__name__} has no argument {", ".join(map(repr, unknown))}. A config inherits '
            'the arguments of the head that it replaces, unless it has '
            f"decode_head=dict(_delete_=True, type='{head.__name__}', ...)"
        )
