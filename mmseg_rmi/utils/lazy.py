"""Names of a package that are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def import_on_demand(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package of which some names need MMSegmentation.

    Args:
        package: its ``__name__``.
        modules: the module, relative to the package, of each of these names.

    Returns:
        A function that imports the module of a name and returns what has the name there. It raises
        an ImportError that says what is wrong where MMSegmentation is not installed, or twice.
    """

    def import_name(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        importlib.import_module('mmseg_rmi.registry')
        return getattr(importlib.import_module(f'{package}.{modules[name]}'), name)

    return import_name
