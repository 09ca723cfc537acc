"""The comparison as a table: for the terminal and for the card. Knows nothing of run folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.markup import escape
from rich.table import Table

from manticore.results.search import ModelRow, SearchResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import count

COSTS = ("parameters", "FLOPs/token", "training tokens")
SHORT = ("params", "FLOPs/token", "tokens seen")  # a terminal may have 80 columns


def comparison(result: SearchResult) -> Table:
    """The rows of a search for the terminal, a rule between the groups, the best in bold."""
    table = bare(f"{result.task}, test split", "model", result.metric.label, *SHORT)
    values = [row.score.value for row in result.rows if row.group != "heuristic"]
    best = result.metric.best_of(values)
    for group, rows in groupby(result.rows, key=lambda row: row.group):
        table.add_section()
        for row in rows:
            style = "dim" if group == "heuristic" else "bold" if row.score.value == best else None
            table.add_row(escape(row.name), score_cell(row, result.metric), *cost_cells(row), style=style)
    return table


def as_markdown(result: SearchResult) -> str:
    """The rows of a search as a Markdown table."""
    rows = ((plain(row.name), score_cell(row, result.metric), *cost_cells(row)) for row in result.rows)
    return markdown(("model", result.metric.label, *COSTS), rows)


def score_cell(row: ModelRow, metric: Metric) -> str:
    """The score with its margin: `63.0 ± 1.5 %`."""
    return metric.format(row.score.value, row.score.margin, unit=False)


def cost_cells(row: ModelRow) -> tuple[str, str, str]:
    """Parameters, FLOPs per token and training tokens; dashes for a heuristic."""
    return count(row.parameters), count(row.flops_per_token), count(row.train_tokens)


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
