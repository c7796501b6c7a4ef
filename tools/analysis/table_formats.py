"""Tables with best values in bold, for terminals, Markdown, LaTeX and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable


@dataclass(frozen=True)
class Cell:
    """Text, in bold perhaps."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Blocks of rows under one header; the first ``labels`` columns hold names, not values."""

    title: str
    header: Sequence[str]
    blocks: Sequence[Sequence[Sequence[Cell]]]
    note: str = ''
    labels: int = 1

    def rows(self) -> list[Sequence[Cell]]:
        """The rows of all blocks."""
        return [row for block in self.blocks for row in block]

    def width(self) -> int:
        """Characters of its widest row on a terminal."""
        rows = [[cell.text for cell in row] for row in self.rows()]
        return sum(3 + max(map(len, column)) for column in zip(self.header, *rows, strict=True))

    def turned(self) -> list[Table]:
        """Each block as a table of its own, rows for columns; the first label goes to the title."""
        tables = []
        for rows in self.blocks:
            titles = [self.title, *(cell.text for cell in rows[0][: self.labels - 1])]
            names = [row[self.labels - 1].text for row in rows]
            block = [
                [Cell(name), *(row[index] for row in rows)]
                for index, name in enumerate(self.header)
                if index >= self.labels
            ]
            tables.append(Table(': '.join(titles), ['', *names], [block], self.note))
        return tables


def to_rich(table: Table, width: int) -> list[RichTable]:
    """For a terminal of a width in characters; turned on its side if it is too wide."""
    return [_draw(shown) for shown in (table.turned() if table.width() > width else [table])]


def _draw(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, caption=table.note or None)
    for index, name in enumerate(table.header):
        drawn.add_column(name, justify='left' if index < table.labels else 'right')
    for block in table.blocks:
        for row in block:
            drawn.add_row(*(f'[bold]{cell.text}[/]' if cell.bold else cell.text for cell in row))
        drawn.add_section()
    return drawn


def to_markdown(table: Table) -> str:
    """For a README."""
    marks = ['---' if index < table.labels else '---:' for index in range(len(table.header))]
    rows = [
        [f'**{cell.text}**' if cell.bold else cell.text for cell in row] for row in table.rows()
    ]
    lines = [f'| {" | ".join(cells)} |' for cells in (table.header, marks, *rows)]
    return '\n'.join([f'**{table.title}**', '', *lines, *(['', table.note] if table.note else [])])


def to_latex(table: Table) -> str:
    """For a paper, with the package booktabs."""
    columns = 'l' * table.labels + 'r' * (len(table.header) - table.labels)
    blocks = [[_latex_row(row) for row in block] for block in table.blocks]
    body = '\n\\midrule\n'.join('\n'.join(rows) for rows in blocks)
    header = ' & '.join(map(_escape, table.header))
    return (
        '\\begin{table}\n\\centering\n'
        f'\\begin{{tabular}}{{{columns}}}\n\\toprule\n{header} \\\\\n\\midrule\n{body}\n'
        f'\\bottomrule\n\\end{{tabular}}\n\\caption{{{_escape(f"{table.title}. {table.note}")}}}\n'
        '\\end{table}'
    )


def _latex_row(row: Sequence[Cell]) -> str:
    cells = [_escape(cell.text) for cell in row]
    bold = [cell.bold for cell in row]
    return ' & '.join(f'\\textbf{{{c}}}' if b else c for c, b in zip(cells, bold, strict=True)) + (
        ' \\\\'
    )


def _escape(text: str) -> str:
    for plain, latex in {'&': '\\&', '%': '\\%', '_': '\\_', '#': '\\#', '±': '$\\pm$'}.items():
        text = text.replace(plain, latex)
    return text.rstrip()


def to_csv(table: Table) -> str:
    """For a spreadsheet: a row of names, then values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(table.header)
    writer.writerows([cell.text for cell in row] for row in table.rows())
    return buffer.getvalue().rstrip('\n')


FORMATS: dict[str, Callable[[Table], str]] = {'md': to_markdown, 'tex': to_latex, 'csv': to_csv}
