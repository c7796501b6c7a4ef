"""Arguments of one head that a config passes to another."""

from collections.abc import Mapping
from inspect import signature
from typing import Any


def own_arguments(head: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without ``_delete_``, which mmengine leaves where a config has no base.

    Raises:
        TypeError: no constructor of the head or of its bases takes one of them.

    Example:
        >>> from mmseg.models.decode_heads import FCNHead
        >>> own_arguments(FCNHead, dict(_delete_=True, num_convs=1, num_classes=2))
        {'num_convs': 1, 'num_classes': 2}
    """
    arguments = {name: value for name, value in arguments.items() if name != '_delete_'}
    constructors = [vars(base)['__init__'] for base in head.__mro__ if '__init__' in vars(base)]
    known = {name for constructor in constructors for name in signature(constructor).parameters}
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise TypeError(
            f'{head.__name__} has no argument {", ".join(map(repr, unknown))}. A config inherits '
            'the arguments of the head that it replaces, unless it has '
            f"decode_head=dict(_delete_=True, type='{head.__name__}', ...)"
        )
    return arguments
