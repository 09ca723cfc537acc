"""`manticore compare`: the hybrid and its rivals on one budget, over seeds and tasks, and a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from manticore import __version__
from manticore.contest.meeting import Meeting
from manticore.contest.rounds import play
from manticore.contest.setting import barred, check_out, crew_of, invited, rehearse
from manticore.contest.standing import (
    correlation,
    differences,
    document_leads,
    exported,
    gap,
    path_rows,
    regret,
    verdicts,
)
from manticore.contest.trials import digest
from manticore.files import write_json, write_text
from manticore.recipe import Recipe
from manticore.report.contest import write_contest
from manticore.report.metric import metric_named
from manticore.report.standings import overview_markdown, standings, standings_markdown
from manticore.runs.machine import facts, prepare
from manticore.tasks.base import Task
from manticore.tasks.catalog import load_task

RESULT = "comparison.json"


def run(recipes: Sequence[Recipe], out: Path, workers: int, console: Console) -> dict[str, Any]:
    """Compare on the task of each recipe and leave `comparison.json`, `tables.md` and `report.html` in `out`.

    Trials that are in `out/trials` are not run again, so a comparison that was stopped goes on where it was, one with
    more seeds or tasks runs what is new, and several processes or machines may share the folder.

    Args:
        recipes: one for each task, alike in components, seeds and budgets.
        out: the folder; new, or of a comparison before.
        workers: processes that run trials at once.
        console: where the user watches.

    Raises ManticoreError, before anything is written, if a recipe cannot be.
    """
    check_out(out, RESULT)
    started = time.monotonic()
    tasks = [load_task(recipe.task) for recipe in recipes]
    machine = prepare(recipes[0].run)
    shops = [rehearse(recipe, task, machine) for recipe, task in zip(recipes, tasks, strict=True)]
    crew = crew_of(recipes[0], out, workers, console)
    meetings = [
        Meeting(invited(shop, console), digest(task), metric_named(task.metric))
        for shop, task in zip(shops, tasks, strict=True)
    ]
    told = play([meeting.story() for meeting in meetings], crew.run)
    crew.leave()
    records = [
        {**record(meeting, task, held), "absent": list(barred(shop).values())}
        for meeting, task, held, shop in zip(meetings, tasks, told, shops, strict=True)
    ]
    contest = recipes[0].contest
    result = {
        "manticore": __version__,
        "machine": facts(),
        "workers": workers,
        "seconds": time.monotonic() - started,
        "seeds": list(range(contest.seeds)),
        "learning_rates": list(contest.learning_rates),
        "tuning_seeds": contest.tuning_seeds,
        "components": list(recipes[0].search_space().names),
        "tasks": records,
        "verdicts": {budget: verdicts(records, budget) for budget in contest.budgets},
    }
    write_json(out / RESULT, result)
    write_text(out / "tables.md", tables(result))
    write_contest(out)
    show(result, out, console)
    return result


def record(meeting: Meeting, task: Task, told: dict[str, Any]) -> dict[str, Any]:
    """Everything about one task, as in comparison.json."""
    tables, recipe, metric = told["tables"], meeting.recipe, meeting.metric
    hybrid = tables["tokens"][0]
    paths = path_rows(told["paths"], hybrid, metric)
    return {
        "task": task.name,
        "metric": metric.name,
        "kind": task.kind,
        "home": told["home"],
        "sequences": meeting.steps * recipe.finetune.batch_size,
        "train_flops": told["train_flops"],
        "tables": {budget: tables[budget] for budget in recipe.contest.budgets},
        "guesses": task.guesses(),
        "gap": gap(hybrid, metric),
        "exported": exported(tables["tokens"], metric),
        "paths": paths,
        "regret": regret(paths, hybrid, metric),
        "correlation": correlation(paths, meeting.space.candidates, hybrid, metric),
        "differences": {budget: differences(tables[budget], metric) for budget in recipe.contest.budgets},
        "document_leads": {budget: document_leads(tables[budget]) for budget in recipe.contest.budgets},
    }


def show(result: dict[str, Any], out: Path, console: Console) -> None:
    """Print every table, the verdicts and where things are."""
    for budget, sentences in result["verdicts"].items():
        for held in result["tasks"]:
            console.print(standings(held, budget))
        for sentence in sentences:
            console.print(f"at the same {NAMES[budget]}: {sentence}", highlight=False, soft_wrap=True)
    console.print(f"  report  {out / 'report.html'}\n  numbers {out / RESULT}", highlight=False, soft_wrap=True)


def tables(result: dict[str, Any]) -> str:
    """All tables and verdicts as Markdown, an overview first."""
    parts = []
    for budget, sentences in result["verdicts"].items():
        parts += [f"# At the same {NAMES[budget]}", overview_markdown(result, budget)]
        parts += ["\n".join(f"- {sentence}" for sentence in sentences)]
        parts += [f"## {held['task']}\n\n{standings_markdown(held, budget)}" for held in result["tasks"]]
    return "\n\n".join(part.strip() for part in parts) + "\n"


NAMES = {"tokens": "tokens", "flops": "operations"}
