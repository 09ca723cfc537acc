"""Tables of benchmarks for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from manticore.bench.kernels import SpeedTarget

if TYPE_CHECKING:
    from manticore.bench.run import SideTiming
    from manticore.bench.scaling import LengthTiming
    from manticore.bench.search_step import StepTarget, StepTiming


def case_table(rows: Sequence[SideTiming]) -> Table:
    """The implementations of all cases: time, peak memory, speedup and memory share of this package, targets."""
    table = _table("case", "side", "median", "runs", "peak", "speedup", "memory", "target", "met", left=2)
    for _, sides in groupby(rows, key=lambda row: row.case):
        table.add_section()
        for row in sides:
            if row.missing or row.seconds is None:
                table.add_row(row.case, row.side, f"missing: {row.missing}")
                continue
            cells = [format_seconds(row.seconds), str(row.repeats), _format_bytes(row.peak_bytes)]
            if row.speedup is not None:
                cells += [_format_factor(row.speedup), "?" if row.memory_share is None else f"{row.memory_share:.2g}"]
                cells += [_format_target(row.target or SpeedTarget()), _format_met(row.target_met)]
            table.add_row(row.case, row.side, *cells)
    return table


def aot_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Compiled kernels: registers, spills, memory, resident warps, and what each channel, step and state costs."""
    names = (
        "registers",
        "spills",
        "stack",
        "shared",
        "resident",
        "issued",
        "memory_cycles",
        "special_cycles",
        "outside",
    )
    table = _table("target", "call", "kernel", *(name.replace("_", " ") for name in names), left=3)
    for row in rows:
        cells = (f"{row[name]:.1f}" if isinstance(row[name], float) else str(row[name]) for name in names)
        table.add_row(row["target"], row["case"], row["kernel"], *cells)
    return table


def step_table(rows: Sequence[StepTiming]) -> Table:
    """Steps of components and of the supernet: time, ratio and limit, memory kept for gradients."""
    table = _table("step", "fastest", "ratio", "to the", "limit", "met", "kept", "share")
    for row in rows:
        ratio = ["", ""] if row.ratio is None else [f"{row.ratio:.2f}", row.relative_to or ""]
        limit = ["" if row.limit is None else f"<= {row.limit:.2f}", _format_met(row.limit_met)]
        table.add_row(row.step, _format_optional(row.seconds), *ratio, *limit, *_memory_cells(row))
    return table


def strategy_step_table(rows: Sequence[StepTiming]) -> Table:
    """A step of each strategy: time, its ratio to the sum of the components' own steps, memory kept for gradients."""
    table = _table("step of the strategy", "fastest", "ratio to the sum", "kept", "share of the mixture's")
    for row in rows:
        if row.note:
            table.add_row(row.step, row.note)
            continue
        table.add_row(row.step, _format_optional(row.seconds), f"{row.ratio or 0:.2f}", *_memory_cells(row))
    return table


def step_target_table(targets: Sequence[StepTarget]) -> Table:
    """The targets of search steps."""
    table = _table("target", "value", "limit", "met")
    for target in targets:
        table.add_row(target.what, f"{target.value:.2f}", f"<= {target.limit:.2f}", _format_met(target.met))
    return table


def _memory_cells(row: StepTiming) -> list[str]:
    share = "" if row.memory_share is None else f"{row.memory_share:.2f}"
    return [_format_bytes(row.activation_bytes), share]


def _format_optional(seconds: float | None) -> str:
    return "" if seconds is None else format_seconds(seconds)


def backend_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """The backends of each operation, and why they are chosen or not."""
    table = _table("operation", "backend", "reason", left=3, unbroken=2)
    for operation, choices in groupby(rows, key=lambda row: row["operation"]):
        for index, row in enumerate(choices):
            table.add_row("" if index else operation, row["backend"], row["reason"])
    return table


def growth_table(rows: Sequence[LengthTiming]) -> Table:
    """Time of the scan by length; a ratio of 1.00 throughout is linear growth."""
    table = _table("length", "median", "per token, to the shortest")
    for row in rows:
        table.add_row(f"{row.length:,}", format_seconds(row.seconds), f"{row.per_token_ratio:.2f}")
    return table


def format_seconds(value: float) -> str:
    """A time with three digits: `12.3 ms`, `1.23 s`."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _format_factor(value: float) -> str:
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def _format_bytes(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**20:,.0f} MiB"


def _format_target(target: SpeedTarget) -> str:
    parts = [f">= {target.speedup:g}x" if target.speedup else "", f"<= {target.memory:.2f}" if target.memory else ""]
    return ", ".join(part for part in parts if part)


def _format_met(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"


def _table(*columns: str, left: int = 1, unbroken: int = 99) -> Table:
    """A table whose first `left` columns are text and whose first `unbroken` columns have no line breaks."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=index < unbroken)
    return table
