"""Names of a package that are imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def import_on_demand(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Create the ``__getattr__`` of a package in which some names need MMSegmentation.

    Args:
        package: its ``__name__``.
        modules: the module of each of these names, relative to the package.

    Returns:
        A function that imports the module of a name, and puts the object of that name into the
        package. Where MMSegmentation is not installed, or installed twice, it raises an ImportError
        that says so.
    """

    def import_name(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        importlib.import_module('mmseg_rmi.registry')
        value = getattr(importlib.import_module(f'{package}.{modules[name]}'), name)
        setattr(sys.modules[package], name, value)
        return value

    return import_name
