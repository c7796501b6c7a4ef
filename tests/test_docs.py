"""The docs name what exists, and their Python is Python."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('docs/**/*.md')]
PATH = re.compile(r'(?<![\w/.-])(?:configs|docs|tests|tools|mmseg_rmi)/[\w./+-]*\w')
LINK = re.compile(r'\]\((?!https?:|mailto:|#)([^)#\s]+)')
MADE_BY_USERS = ('mmseg_rmi/.mim',)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    named = {path for path in PATH.findall(text) if not path.startswith(MADE_BY_USERS)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    folder = page.resolve().parent
    assert [link for link in LINK.findall(text) if not (folder / link).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_compiles(page: Path) -> None:
    for block in re.findall(r'^ *```python\n(.*?)^ *```', page.read_text(), re.M | re.S):
        lines = block.splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        compile('\n'.join(line[indent:] for line in lines), page.name, 'exec')
