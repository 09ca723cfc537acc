"""A table of text, for the terminal, for Markdown and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

HEURISTIC = "heuristic"
"""Group of the rows that need no model."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        cells: one text per column; the first is a name.
        group: rows of one group stand together; that of `HEURISTIC` is dimmed.
        best: indices of the cells that hold the best score of their table or row.
        emphasized: whether the row is bold in the terminal and on a page.
        verdicts: by index of a cell, `better`, `worse` or `unclear`, which colors it on a page.
    """

    cells: tuple[str, ...]
    group: str = ""
    best: tuple[int, ...] = ()
    emphasized: bool = False
    verdicts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Headings and rows: names in the first column, numbers in all others.

    Attributes:
        columns: headings.
        rows: from top to bottom.
        title: of the table in the terminal.
        short_columns: headings for a terminal of 80 characters; empty: `columns`.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    title: str = ""
    short_columns: tuple[str, ...] = ()

    def rich(self) -> RichTable:
        """For the terminal: a line between groups, the row with the best score in bold."""
        title = escape(self.title) if self.title else None
        table = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for index, column in enumerate(self.short_columns or self.columns):
            table.add_column(escape(column), justify="right" if index else "left", no_wrap=index > 0)
        for group, rows in groupby(self.rows, key=lambda row: row.group):
            table.add_section()
            for row in rows:
                style = "dim" if group == HEURISTIC else "bold" if row.best or row.emphasized else None
                table.add_row(*map(escape, row.cells), style=style)
        return table

    def markdown(self) -> str:
        """A Markdown table with the best scores in bold."""
        head = (tuple(map(markdown_text, self.columns)), ("---", *["---:"] * (len(self.columns) - 1)))
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (*head, *map(_markdown_cells, self.rows)))


def markdown_text(text: str) -> str:
    """Text on one line in which Markdown finds no markup."""
    return "".join(f"\\{letter}" if letter in "|`*_<>[]\\" else letter for letter in " ".join(text.split()))


def _markdown_cells(row: Row) -> tuple[str, ...]:
    cells = map(markdown_text, row.cells)
    return tuple(f"**{cell}**" if index in row.best else cell for index, cell in enumerate(cells))
