"""The comparison as a table: for the terminal and for the card. Knows nothing of run folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from manticore.results.rows import ModelRow, measure

COSTS = ("parameters", "FLOPs/token", "training tokens")
SHORT = ("params", "FLOPs/token", "tokens seen")  # a terminal may have 80 columns


def comparison(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """The rows of metrics.json for the terminal, a rule between the groups. Raises BadFile for a row without a name."""
    held = [ModelRow.of(row) for row in rows]
    table = bare(title, "model", measure(held), *SHORT)
    best = max((row.sort_key for row in held if row.group != "guess"), default=None)
    for place, row in enumerate(held):
        if place and row.group != held[place - 1].group:
            table.add_section()
        style = "dim" if row.group == "guess" else "bold" if row.sort_key == best else None
        table.add_row(escape(row.name), row.score, *row.costs, style=style)
    return table


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of metrics.json as a Markdown table. Raises BadFile for a row without a name."""
    held = [ModelRow.of(row) for row in rows]
    return markdown(("model", measure(held), *COSTS), ((plain(row.name), row.score, *row.costs) for row in held))


def bare(title: str | None, first: str, *others: str) -> Table:
    """A table for the terminal without rows: a column of names, and columns of numbers."""
    heading = None if title is None else escape(title)
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(escape(name), justify="right", no_wrap=True)
    return table


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is of names, the others are of numbers. Cells are Markdown already."""
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def plain(text: str) -> str:
    """A name that Markdown shows as it is, on one line."""
    return "".join(f"\\{letter}" if letter in "|`*_<>[]\\" else letter for letter in " ".join(text.split()))
