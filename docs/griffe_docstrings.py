"""Read the docstrings of this project as mkdocstrings expects them."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r'^( *)Example:$', re.MULTILINE)
ROLE = re.compile(r':(?:attr|class|func|meth|mod):`[.~]?([^`]+)`')


class Docstrings(griffe.Extension):
    """Rename ``Example:`` to the section of Google's style, and drop the roles of Sphinx."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one object's docstring before it is parsed."""
        if obj.docstring:
            text = EXAMPLE.sub(r'\1Examples:', obj.docstring.value)
            obj.docstring.value = ROLE.sub(r'`\1`', text)
