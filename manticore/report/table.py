"""The comparison as a table: for the terminal and for the card. Knows nothing of run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from manticore.report.rows import Row, measure

COSTS = ("parameters", "FLOPs/token", "training tokens")
SHORT = ("params", "FLOPs/token", "tokens seen")  # a terminal may have 80 columns


def comparison(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """The rows of metrics.json for the terminal, a rule between the groups. Raises BadFile for a row without a name."""
    held = [Row.of(row) for row in rows]
    heading = None if title is None else escape(title)
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("model")
    for name in (measure(held), *SHORT):
        table.add_column(name, justify="right", no_wrap=True)
    best = max((row.goodness for row in held if row.group != "guess"), default=None)
    for place, row in enumerate(held):
        if place and row.group != held[place - 1].group:
            table.add_section()
        style = "dim" if row.group == "guess" else "bold" if row.goodness == best else None
        table.add_row(escape(row.name), row.score, *row.costs, style=style)
    return table


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of metrics.json as a Markdown table. Raises BadFile for a row without a name."""
    held = [Row.of(row) for row in rows]
    lines = [("model", measure(held), *COSTS), ("---", *["---:"] * (1 + len(COSTS)))]
    lines += [(_plain(row.name), row.score, *row.costs) for row in held]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _plain(text: str) -> str:
    """A name that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "|`*_<>[]\\" else letter for letter in text)
