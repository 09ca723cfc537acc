"""The tables of a study in the terminal and in Markdown: every number, the best score marked, names escaped."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from manticore.errors import UnknownName
from manticore.report.study.tables import overview_table, task_table, with_leads
from manticore.report.table import Table
from manticore.results.study import StudyResult, TaskResult
from tests.helpers.study_results import arm, interval, study_result, task_result, with_arm


def table(task: TaskResult, budget: str = "tokens") -> Table:
    return task_table(task, budget)


def overview(study: StudyResult, budget: str = "tokens") -> list[str]:
    return overview_table(study, budget).markdown().splitlines()


def printed(table: Table, width: int = 80, color: bool = False) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None)
    console.print(table.rich())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_terminal_has_every_number_in_80_columns() -> None:
    lines = {line.split("  ")[0].strip(): line.split() for line in printed(table(task_result("mad-x"))) if line}
    assert "mad-x" in lines
    assert " ".join(lines["hybrid"][1:]) == "80.0 ± 2.0 % 121 k 260 k 1.2 M 1 min 35 s 0.002"
    assert " ".join(lines["gpt-neo alone"][2:]) == "72.0 ± 2.0 % 118 k 241 k 1.2 M 1 min 35 s 0.0005"
    assert " ".join(lines["majority token"][2:]) == "11.0 % – – – – –"


def test_flops_table_shows_training_flops() -> None:
    lines = printed(table(task_result("mad-x"), "flops"))
    assert "1.2 T" in next(line for line in lines if "hybrid" in line)


def test_terminal_separates_groups_with_heuristics_last() -> None:
    task = task_result("mad-x")
    task = replace(task, tables={"tokens": task.tables["tokens"][::-1]})
    _, below = "\n".join(printed(table(task))).split("─\n")
    groups = [[line.split("  ")[0].strip() for line in group.splitlines()] for group in below.split("\n\n")]
    assert groups == [
        ["hybrid"],
        ["mamba alone", "gpt-neo alone"],
        ["mambaformer"],
        ["random path"],
        ["majority token", "last token"],
    ]


def test_terminal_marks_the_best_alone() -> None:
    lines = printed(table(task_result("mad-x")), color=True)
    (best,) = [line for line in lines if line.startswith(" \x1b[1m") and "%" in line]
    assert "mambaformer" in best


def test_terminal_finds_no_markup_in_names() -> None:
    task = with_arm(task_result("[red]x"), "tokens", 0, name="[bold]y")
    text = "\n".join(printed(table(task)))
    assert "[red]x" in text
    assert "[bold]y" in text


def test_markdown_has_every_number_and_the_best_in_bold() -> None:
    lines = table(task_result("mad-x"), "flops").markdown().splitlines()
    assert lines[:2] == [
        "| model | accuracy | parameters | FLOPs/token | training FLOPs | wall time | learning rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    assert lines[2] == "| hybrid | 80.0 ± 2.0 % | 121 k | 260 k | 1.2 T | 1 min 35 s | 0.002 |"
    assert lines[5] == "| mambaformer | **83.0 ± 2.0 %** | 126 k | 262 k | 1.2 T | 1 min 35 s | 0.002 |"
    assert lines[-1] == "| last token | 69.0 % | – | – | – | – | – |"
    assert sum("**" in line for line in lines) == 1


def test_a_heuristic_is_never_the_best() -> None:
    lines = table(replace(task_result("mad-x"), heuristics={"oracle": 0.99})).markdown().splitlines()
    assert lines[-1].startswith("| oracle | 99.0 % |")
    assert "**83.0 ± 2.0 %**" in lines[5]


def test_one_seed_has_no_margin() -> None:
    lone = replace(arm("hybrid"), score=interval(0.8, None, 1))
    task = replace(task_result("mad-x"), tables={"tokens": (lone,)}, heuristics={})
    assert table(task).markdown().splitlines()[-1] == (
        "| hybrid | **80.0 %** | 121 k | 260 k | 1.2 M | 1 min 35 s | 0.002 |"
    )


def test_overview_has_a_row_for_each_task_and_a_column_for_each_arm() -> None:
    lines = overview(study_result())
    assert lines[0] == "| task | hybrid | gpt-neo alone | mamba alone | mambaformer | random path |"
    assert lines[2].startswith(r"| mad-noisy-recall@seq\_len=32 | 80.0 ± 2.0 % | 72.0 ± 2.0 % | 76.0 ± 2.0 % |")
    assert lines[2].endswith("| **83.0 ± 2.0 %** | 74.0 ± 2.0 % |")
    assert lines[3].startswith("| mad-compress | 50.0 ± 2.0 % |")
    assert len(lines) == 4


def without_flops(task: TaskResult) -> TaskResult:
    """The task without its table of FLOPs."""
    return replace(task, tables={"tokens": task.tables["tokens"]})


def test_overview_omits_tasks_without_the_budget_and_dashes_missing_models() -> None:
    first, second = study_result().tasks
    assert len(overview(study_result(without_flops(first), second), "flops")) == 3
    shorter = replace(first, tables={**first.tables, "tokens": first.tables["tokens"][:-1]})
    assert overview(study_result(shorter, second))[2].endswith("| **83.0 ± 2.0 %** | – |")


def test_names_do_not_break_the_table() -> None:
    task = with_arm(task_result("mad-x"), "tokens", 1, name="a|b\nc")
    assert r"| a\|b c | 72.0" in table(task).markdown()


def test_a_missing_budget_is_named() -> None:
    study = study_result(*map(without_flops, study_result().tasks))
    with pytest.raises(UnknownName, match="unknown budget 'flops'"):
        overview(study, "flops")
    with pytest.raises(UnknownName, match="unknown budget 'flops'"):
        table(study.tasks[0], "flops")


def test_leads_are_beside_the_scores() -> None:
    task = task_result("mad-x")
    lines = with_leads(task_table(task, "tokens"), task, "tokens").markdown().splitlines()
    assert lines[0].startswith("| model | accuracy | the hybrid is | parameters |")
    assert lines[2].startswith("| hybrid | 80.0 ± 2.0 % |  | 121 k |")
    assert lines[5].startswith("| mambaformer | **83.0 ± 2.0 %** | worse by 3.0 ± 5.0 | 126 k |")
