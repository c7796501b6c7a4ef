"""What this environment has."""

import functools
import importlib


@functools.cache
def can_import(module: str) -> bool:
    """Tell whether a module is there, and whole."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
