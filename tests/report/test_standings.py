"""The standings of a study for the terminal and in Markdown: every number, the best marked, names as they are."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from manticore.errors import BadFile, UnknownName
from manticore.report.study.standings import overview_markdown, standings, standings_markdown
from manticore.utils.formatting import points
from tests.helpers.study_results import comparison, row, task


def shown(table: Table, width: int = 80, colour: bool = False) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_terminal_has_every_number_in_80_columns() -> None:
    lines = {line.split("  ")[0].strip(): line.split() for line in shown(standings(task("mad-x"), "tokens")) if line}
    assert "mad-x" in lines
    assert " ".join(lines["hybrid"][1:]) == "80.0 ± 2.0 % 121 k 260 k 1.2 M 1 min 35 s 0.002"
    assert " ".join(lines["gpt-neo alone"][2:]) == "72.0 ± 2.0 % 118 k 241 k 1.2 M 1 min 35 s 0.0005"
    assert " ".join(lines["majority token"][2:]) == "11.0 % – – – – –"


def test_flops_table_says_what_was_spent() -> None:
    lines = shown(standings(task("mad-x"), "flops"))
    assert "1.2 T" in next(line for line in lines if "hybrid" in line)


def test_terminal_sets_groups_apart_with_guesses_last() -> None:
    held = task("mad-x")
    held["tables"]["tokens"].reverse()
    _, below = "\n".join(shown(standings(held, "tokens"))).split("─\n")
    groups = [[line.split("  ")[0].strip() for line in group.splitlines()] for group in below.split("\n\n")]
    assert groups == [
        ["hybrid"],
        ["mamba alone", "gpt-neo alone"],
        ["mambaformer"],
        ["random path"],
        ["majority token", "last token"],
    ]


def test_terminal_marks_the_best_alone() -> None:
    lines = shown(standings(task("mad-x"), "tokens"), colour=True)
    (best,) = [line for line in lines if line.startswith(" \x1b[1m") and "%" in line]
    assert "mambaformer" in best


def test_terminal_takes_names_as_they_are() -> None:
    held = task("[red]x")
    held["tables"]["tokens"] = [{**row("hybrid"), "name": "[bold]y"}]
    text = "\n".join(shown(standings(held, "tokens")))
    assert "[red]x" in text
    assert "[bold]y" in text


def test_markdown_has_every_number_and_the_best_in_bold() -> None:
    lines = standings_markdown(task("mad-x"), "flops").splitlines()
    assert lines[:2] == [
        "| model | accuracy | parameters | FLOPs/token | training FLOPs | wall time | learning rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    assert lines[2] == "| hybrid | 80.0 ± 2.0 % | 121 k | 260 k | 1.2 T | 1 min 35 s | 0.002 |"
    assert lines[5] == "| mambaformer | **83.0 ± 2.0 %** | 126 k | 262 k | 1.2 T | 1 min 35 s | 0.002 |"
    assert lines[-1] == "| last token | 69.0 % | – | – | – | – | – |"
    assert sum("**" in line for line in lines) == 1


def test_a_guess_is_never_the_best() -> None:
    lines = standings_markdown({**task("mad-x"), "guesses": {"oracle": 0.99}}, "tokens").splitlines()
    assert lines[-1].startswith("| oracle | 99.0 % |")
    assert "**83.0 ± 2.0 %**" in lines[5]


def test_one_seed_has_no_margin_and_what_is_not_known_is_a_dash() -> None:
    lone = {**row("hybrid"), "accuracy": {"mean": 0.8, "low": None, "high": None, "count": 1}, "lr": None}
    del lone["seconds"]
    held = {"task": "mad-x", "tables": {"tokens": [lone]}}
    assert standings_markdown(held, "tokens").splitlines()[-1] == (
        "| hybrid | **80.0 %** | 121 k | 260 k | 1.2 M | – | – |"
    )


def test_overview_has_a_row_for_each_task_and_a_column_for_each_arm() -> None:
    lines = overview_markdown(comparison(), "tokens").splitlines()
    assert lines[0] == "| task | hybrid | gpt-neo alone | mamba alone | mambaformer | random path |"
    assert lines[2].startswith(r"| mad-noisy-recall@seq\_len=32 | 80.0 ± 2.0 % | 72.0 ± 2.0 % | 76.0 ± 2.0 % |")
    assert lines[2].endswith("| **83.0 ± 2.0 %** | 74.0 ± 2.0 % |")
    assert lines[3].startswith("| mad-compress | 50.0 ± 2.0 % |")
    assert len(lines) == 4


def test_overview_leaves_out_tasks_without_the_table_and_dashes_who_did_not_take_part() -> None:
    held = comparison()
    del held["tasks"][0]["tables"]["flops"]
    assert len(overview_markdown(held, "flops").splitlines()) == 3
    held["tasks"][0]["tables"]["tokens"].pop()
    assert overview_markdown(held, "tokens").splitlines()[2].endswith("| **83.0 ± 2.0 %** | – |")


def test_names_do_not_break_the_table() -> None:
    held = task("mad-x")
    held["tables"]["tokens"][1]["name"] = "a|b\nc"
    assert r"| a\|b c | 72.0" in standings_markdown(held, "tokens")


def test_a_table_that_is_not_there_is_named() -> None:
    held = comparison()
    for one in held["tasks"]:
        del one["tables"]["flops"]
    with pytest.raises(UnknownName, match="unknown budget 'flops'"):
        overview_markdown(held, "flops")
    with pytest.raises(UnknownName, match="unknown budget 'flops'"):
        standings(held["tasks"][0], "flops")


@pytest.mark.parametrize("held", [{}, [], {"task": "x"}, {"task": "x", "tables": {"tokens": [{"name": "y"}]}}])
def test_what_is_no_task_is_refused(held: Any) -> None:
    with pytest.raises(BadFile, match=r"comparison.json: "):
        standings(held, "tokens")


def test_points_carry_their_margin() -> None:
    assert points(0.042, 0.019) == "+4.2 ± 1.9"
    assert points(-0.042, 0.019) == "−4.2 ± 1.9"
