"""Results of benchmarks as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

Row = Mapping[str, Any]


def _table(*columns: str, left: int = 1, fixed: int = 99) -> Table:
    """A table whose first `left` columns are words and whose first `fixed` are never broken."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right", no_wrap=place < fixed)
    return table


def seconds(value: float) -> str:
    """A time with three digits and a unit."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def times(value: float) -> str:
    """A ratio with three digits at most: 34.6x, 1,290x."""
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def _size(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**20:,.0f} MiB"


def _verdict(row: Row) -> str:
    return {True: "yes", False: "NO"}.get(row.get("kept"), "")  # type: ignore[arg-type]


def _promised(promised: Mapping[str, float | None]) -> str:
    time, memory = promised.get("time"), promised.get("memory")
    words = [f">= {time:g}x" if time else "", f"<= {memory:.2f}" if memory else ""]
    return ", ".join(word for word in words if word)


def races(rows: Sequence[Row]) -> Table:
    """Cases and sides: seconds, peak memory; how many times faster ours is, with what share of the memory; promises."""
    table = _table("case", "side", "median", "runs", "peak", "faster", "memory", "promised", "kept", left=2)
    for place, row in enumerate(rows):
        if place and row["case"] != rows[place - 1]["case"]:
            table.add_section()
        if "absent" in row:
            table.add_row(row["case"], row["side"], f"absent: {row['absent']}")
            continue
        cells = [seconds(row["seconds"]), str(row["repeats"]), _size(row["peak_bytes"])]
        if "times_faster" in row:
            share = row["memory_share"]
            cells += [times(row["times_faster"]), "?" if share is None else f"{share:.2g}"]
            cells += [_promised(row["promised"]), _verdict(row)]
        table.add_row(row["case"], row["side"], *cells)
    return table


def steps(rows: Sequence[Row]) -> Table:
    """Kinds of search step: seconds, ratio, what was promised."""
    table = _table("step", "median", "runs", "ratio", "to", "promised", "kept")
    for row in rows:
        cells = [seconds(row["seconds"]), str(row["repeats"])]
        if "ratio" in row:
            cells += [f"{row['ratio']:.2f}", row["against"]]
            cells += [f"<= {row['promised']:.2f}" if "promised" in row else "", _verdict(row)]
        table.add_row(row["step"], *cells)
    return table


def choices(rows: Sequence[Row]) -> Table:
    """Who runs what, and why."""
    table = _table("operation", "backend", "why", left=3, fixed=2)
    for place, row in enumerate(rows):
        new = not place or row["operation"] != rows[place - 1]["operation"]
        table.add_row(row["operation"] if new else "", row["backend"], row["why"])
    return table


def growth(rows: Sequence[Row]) -> Table:
    """How the scan grows with length: 1.00 throughout is linear."""
    table = _table("length", "median", "per token, to the shortest")
    for row in rows:
        table.add_row(f"{row['length']:,}", seconds(row["seconds"]), f"{row['per_token_ratio']:.2f}")
    return table
