"""The standings of a study, for the terminal and in Markdown. Knows nothing of folders and of the page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from rich.markup import escape
from rich.table import Table

from manticore.report.run.table import bare, markdown, plain
from manticore.results.study import StudyResult
from manticore.results.task_result import ArmResult, TaskResult
from manticore.utils.formatting import DASH, count, duration

SPENT = {"tokens": "training tokens", "flops": "training FLOPs"}
SHORT = {"tokens": "tokens\nseen", "flops": "FLOPs\nspent"}  # a terminal may have 80 columns


def standings(task: Mapping[str, Any], budget: str) -> Table:
    """One task for the terminal, a rule between the groups, the best in bold.

    Args:
        task: one of comparison.json.
        budget: `tokens` or `flops`, what everybody was given the same amount of.

    Raises BadFile for what is no task, and UnknownName if it has no such table.
    """
    match = TaskResult.of(task)
    best = match.best(budget)
    table = bare(match.task, "model", match.metric.label, "params", "FLOPs\n/token", SHORT[budget], "time", "rate")
    for group, held in groupby(match.table(budget), key=lambda one: one.group):
        table.add_section()
        for one in held:
            style = "dim" if group == "guess" else "bold" if one.reached.mean == best else None
            table.add_row(escape(one.name), *cells(one, budget), style=style)
    return table


def standings_markdown(task: Mapping[str, Any], budget: str) -> str:
    """One task as a Markdown table, the best in bold. Arguments and errors are those of `standings`."""
    match = TaskResult.of(task)
    best = match.best(budget)
    rows = []
    for one in match.table(budget):
        score, *costs = cells(one, budget)
        rows.append((plain(one.name), f"**{score}**" if one.reached.mean == best else score, *costs))
    return markdown(("model", *headings(match, budget)), rows)


def overview_markdown(comparison: Mapping[str, Any], budget: str) -> str:
    """All tasks as a Markdown table, a column for each arm, the best of each task in bold.

    Raises BadFile for what is no comparison, and UnknownName if it has no table of that budget.
    """
    study = StudyResult.of(comparison)
    names = study.names(budget)
    rows = [
        (plain(match.task), *(f"**{score}**" if best else score for score, best in scores(match, names, budget)))
        for match in study.matches
        if budget in match.tables
    ]
    return markdown(("task", *map(plain, names)), rows)


def scores(match: TaskResult, names: tuple[str, ...], budget: str) -> list[tuple[str, bool]]:
    """What each arm reached, and whether that is the best; a dash for who did not take part."""
    held = {one.name: one for one in match.table(budget)}
    best = match.best(budget)
    return [(held[name].score, held[name].reached.mean == best) if name in held else (DASH, False) for name in names]


def headings(match: TaskResult, budget: str) -> tuple[str, ...]:
    """What `cells` are."""
    return match.metric.label, "parameters", "FLOPs/token", SPENT[budget], "wall time", "learning rate"


def cells(one: ArmResult, budget: str) -> tuple[str, ...]:
    """Score and costs of a arm, in words."""
    seconds, rate = one.costs["seconds"], one.costs["lr"]
    return (
        one.score,
        count(one.costs["parameters"]),
        count(one.costs["flops_per_token"]),
        count(one.costs[f"train_{budget}"]),
        DASH if seconds is None else duration(seconds),
        DASH if rate is None else f"{rate:g}",
    )
