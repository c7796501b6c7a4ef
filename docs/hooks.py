"""Hooks of the documentation site.

Equations become MathML while the site is built, which browsers render without a script. Links that
lead out of ``docs/`` work in a checkout; the site, which has no such file, names the path instead.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from latex2mathml.converter import convert

OUTSIDE = re.compile(r'(?<!!)\[([^\]\n]*(?:\n[^\]\n]*)?)\]\((\.\.?/[^)\s]*)\)')
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace links to files outside of ``docs/`` by their text and path."""

    def name_path(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        folder = posixpath.dirname(posixpath.join('docs', page.file.src_uri))
        path = posixpath.normpath(posixpath.join(folder, target.partition('#')[0]))
        if path == 'docs' or path.startswith('docs/'):
            return link[0]
        return text if path in text else f'{text} (`{path}`)'

    return OUTSIDE.sub(
        name_path, markdown.replace('](docs/', '](')
    )  # of files linked from the root


def on_page_content(html: str, **_: Any) -> str:
    """Replace LaTeX by MathML."""

    def to_mathml(equation: re.Match[str]) -> str:
        latex = equation[2].replace('&lt;', '<').replace('&gt;', '>').replace('&amp;', '&')
        return convert(latex.strip(), display='block' if equation[1] == 'div' else 'inline')

    return EQUATION.sub(to_mathml, html)
