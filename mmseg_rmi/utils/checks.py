"""Checks of constructor arguments: each error names the argument, the value and the range."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

LARGEST = 1e12  # of a number, so that no sum over pixels overflows


def check_number(name: str, value: object) -> None:
    """Raise unless ``value`` is a finite real number of a reasonable size."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{name} must be a number, got {value!r}')
    number: Any = value
    # By comparisons, also of a symbol under torch.compile, where math.isfinite would break a graph.
    if not -LARGEST <= number <= LARGEST:
        is_finite = -math.inf < number < math.inf
        span = f'from -{LARGEST:.0e} to {LARGEST:.0e}' if is_finite else 'finite'
        raise ValueError(f'{name} must be {span}, got {value}')


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise unless ``value`` is an integer of that range."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f'{name} must be an integer, got {value!r}')
    if int(value) < least or (most is not None and int(value) > most):
        span = f'at least {least}' if most is None else f'from {least} to {most}'
        raise ValueError(f'{name} must be {span}, got {value}')


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}')
