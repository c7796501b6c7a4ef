"""Pages of which a part, between two marks, is written by the report."""

from collections.abc import Sequence
from pathlib import Path

BEGIN, END = '<!-- begin of the {} that tools/study report writes -->', '<!-- end -->'


def insert(lines: Sequence[str], page: Path, name: str) -> None:
    """Put the lines between the marks of that name of a page.

    Raises:
        ValueError: the page lacks a mark.
    """
    head, tail = split(page, name)
    page.write_text('\n'.join([head, '', *lines, '', tail]))


def split(page: Path, name: str) -> tuple[str, str]:
    """Part a page after the first mark of that name and before the last.

    Raises:
        ValueError: the page lacks a mark.
    """
    begin = BEGIN.format(name)
    head, _, rest = page.read_text().partition(begin)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f'{page} lacks the lines {begin} and {END}, between which the {name} goes')
    return head + begin, end + tail
