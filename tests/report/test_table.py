"""The comparison table of a search in the terminal and in Markdown, and the units in it."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from manticore.report.run.tables import comparison_table
from manticore.results.search import SearchResult
from manticore.utils.formatting import count, duration, percent, signed


def test_terminal_table_has_every_number(result: SearchResult) -> None:
    out = StringIO()
    Console(file=out, width=100).print(comparison_table(replace(result, task="a [task]")).rich())
    lines = {line.split("  ")[0].strip(): line.split() for line in out.getvalue().splitlines() if line.strip()}
    assert "a [task], test split" in out.getvalue()
    assert lines["mamba alone"][2:] == ["58.8", "±", "1.5", "%", "130", "k", "310", "k", "5.5", "M"]
    assert lines["majority class"][2:] == ["17.5", "±", "1.2", "%", "–", "–", "–"]


def test_terminal_finds_no_markup_in_names(result: SearchResult) -> None:
    out = StringIO()
    Console(file=out, width=100).print(comparison_table(with_name(result, "[bold]x")).rich())
    assert "[bold]x" in out.getvalue()


def with_name(result: SearchResult, name: str) -> SearchResult:
    """The result with another name for its last row, a heuristic."""
    return replace(result, rows=(*result.rows[:-1], replace(result.rows[-1], name=name)))


def test_markdown_table_has_every_number(result: SearchResult) -> None:
    lines = comparison_table(result).markdown().splitlines()
    assert lines[0] == "| model | accuracy | parameters | FLOPs/token | training tokens |"
    assert "| discretized, after fine-tuning | **63.0 ± 1.5 %** | 171 k | 402 k | 5.5 M |" in lines
    assert len(lines) == 2 + 9


def test_markdown_table_survives_a_bar_in_a_name(result: SearchResult) -> None:
    assert (
        comparison_table(with_name(result, "a|b")).markdown().splitlines()[-1] == r"| a\|b | 37.9 ± 1.5 % | – | – | – |"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (999.7, "1.0 k"),
        (34_000, "34 k"),
        (1_234_567, "1.2 M"),
        (9_960_000, "10 M"),
        (999_600, "1.0 M"),
        (7e9, "7.0 B"),
        (5e15, "5000 T"),
    ],
)
def test_counts_are_short(value: float | None, text: str) -> None:
    assert count(value) == text


def test_other_units() -> None:
    assert percent(0.63) == "63.0 %"
    assert signed(-3.12, 1) == "−3.1"
    assert signed(0.01, 1) == "0.0"
    assert [duration(s) for s in (0.42, 35, 59.7, 125, 4020)] == [
        "0.4 s",
        "35 s",
        "1 min 0 s",
        "2 min 5 s",
        "1 h 7 min",
    ]
