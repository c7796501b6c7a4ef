"""Read "Example:" in docstrings as the section that Google's style calls "Examples:"."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r'^( *)Example:$', re.MULTILINE)


class Examples(griffe.Extension):
    """Rename the section of each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = SECTION.sub(r'\1Examples:', obj.docstring.value)
