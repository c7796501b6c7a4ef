"""Settings as the Python of a config."""

import keyword
from dataclasses import dataclass, field
from typing import Any

LINE = 100  # characters


@dataclass(frozen=True)
class Expression:
    """Python in a config: an element of its base, say, with some of its settings replaced."""

    expression: str
    changes: dict[str, Any] = field(default_factory=dict)


def render(value: Any, indent: int = 0, column: int = 0) -> str:
    """Write settings as Python, on one line if it fits.

    >>> print(render(dict(type='RMILoss', loss_lambda=Expression('2 / 3'))))
    dict(type='RMILoss', loss_lambda=2 / 3)
    """
    if isinstance(value, Expression):
        if not value.changes:
            return value.expression
        parts, brackets = [value.expression, *_keywords(value.changes)], ('dict(', ')')
    elif isinstance(value, dict) and all(map(_is_keyword, value)):
        parts, brackets = _keywords(value), ('dict(', ')')
    elif isinstance(value, dict):
        parts, brackets = [(f'{name!r}: ', each) for name, each in value.items()], ('{', '}')
    elif isinstance(value, list):
        parts, brackets = [('', each) for each in value], ('[', ']')
    else:
        return repr(value)
    line = brackets[0] + ', '.join(_render_part(part, indent) for part in parts) + brackets[1]
    if column + len(line) < LINE and '\n' not in line:
        return line
    pad = ' ' * (indent + 4)
    lines = [f'{pad}{_render_part(part, indent + 4)},\n' for part in parts]
    return f'{brackets[0]}\n{"".join(lines)}{" " * indent}{brackets[1]}'


def _is_keyword(name: Any) -> bool:
    """Tell whether a setting can be written as an argument of ``dict``."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _keywords(settings: dict[str, Any]) -> list[Any]:
    return [(f'{name}=', value) for name, value in settings.items()]


def _render_part(part: str | tuple[str, Any], indent: int) -> str:
    if isinstance(part, str):
        return part
    name, value = part
    return name + render(value, indent, indent + len(name) + 1)
