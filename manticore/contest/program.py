"""`manticore program`: search on cheap proxy tasks, carry the path to the target, and tell how well proxies predict.

The third use of "Pretrained Hybrids with MAD Skills" (arXiv 2406.00894): an architecture is found on proxies, so that
the target needs no search. To tell what that is worth, every path of the space is trained on proxies and target alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from manticore import __version__
from manticore.architecture import Architecture
from manticore.contest.meeting import Meeting
from manticore.contest.program_checks import check, check_data, check_metrics, unbounded
from manticore.contest.program_findings import (
    correlations,
    costs,
    path_rows,
    programmed,
    searched,
    standings,
)
from manticore.contest.program_story import Ground, train
from manticore.contest.setting import check_out, crew_of, rehearse
from manticore.contest.trials import digest
from manticore.files import write_json
from manticore.recipe import Recipe
from manticore.report.program import write_program
from manticore.report.program_record import FILE, Programming
from manticore.report.program_tables import standings_table, transfer_table
from manticore.report.program_words import sentences
from manticore.runs.machine import facts, prepare
from manticore.tasks.base import Task
from manticore.tasks.catalog import load_task


def run(
    proxies: Sequence[Recipe],
    target: Recipe,
    out: Path,
    workers: int,
    console: Console,
    search_target: bool = False,
) -> dict[str, Any]:
    """Program a hybrid and leave `program.json`, `architecture.json` and `report.html` in `out`.

    Trials that are in `out/trials` are not run again, so what was stopped goes on where it was, and several processes
    or machines may share the folder.

    Args:
        proxies: recipes of the tasks that are searched.
        target: recipe of the task that the path is for; its components may be others, and correspond by place.
        out: the folder; new, or of such a run before.
        workers: processes that run trials at once.
        console: where the user watches.
        search_target: whether to search the target as well, to compare with.

    Returns what `program.json` holds. Raises ManticoreError, before anything is written, if a recipe cannot be.
    """
    check_out(out, FILE)
    check(proxies, target)
    started = time.monotonic()
    recipes = [unbounded(recipe) for recipe in (*proxies, target)]
    machine = prepare(target.run)
    tasks = [load_task(recipe.task) for recipe in recipes]
    check_metrics(tasks)
    for recipe, task in zip(recipes, tasks, strict=True):
        rehearse(recipe, task, machine)
    data = [digest(task) for task in tasks]
    check_data(tasks, data)
    meetings = [Meeting(*held) for held in zip(recipes, data, strict=True)]
    crew = crew_of(target, out, workers, console)
    grounds = train([task.name for task in tasks], meetings, search_target, crew.run)
    crew.leave()
    seconds = time.monotonic() - started
    result = {
        "manticore": __version__,
        "machine": facts(),
        "workers": workers,
        "seconds": seconds,
        **record(grounds, tasks),
    }
    write_json(out / FILE, result)
    architecture(result, target).save(out / "architecture.json")
    write_program(out)
    show(result, out, console)
    return result


def record(grounds: Sequence[Ground], tasks: Sequence[Task]) -> dict[str, Any]:
    """Everything that was found, as in program.json."""
    *proxies, target = grounds
    contest = target.meeting.recipe.contest
    paths = path_rows(proxies, target)
    return {
        "seeds": list(target.meeting.seeds),
        "learning_rates": list(contest.learning_rates),
        "tuning_seeds": contest.tuning_seeds,
        "components": list(proxies[0].meeting.space.names),
        "proxies": [proxy_record(*held) for held in zip(proxies, tasks, strict=False)],
        "target": {
            "task": target.task,
            "metric": tasks[-1].metric,
            "kind": tasks[-1].kind,
            "components": list(target.meeting.space.names),
            "home": target.home,
            "rates": rates(target),
            "guesses": tasks[-1].guesses(),
        },
        "programmed": programmed(paths)["path"],
        "standings": standings(paths, target),
        "search": searched(paths, target),
        "correlations": correlations(paths, [ground.task for ground in proxies]),
        "costs": costs(proxies, target),
        "paths": paths,
    }


def proxy_record(ground: Ground, task: Task) -> dict[str, Any]:
    """What the searches on one proxy came to."""
    return {
        "task": ground.task,
        "metric": task.metric,
        "home": ground.home,
        "rates": rates(ground),
        "searches": [{key: held[key] for key in ("path", "weights", "score")} for held in ground.results["hybrid"]],
    }


def rates(ground: Ground) -> dict[str, float]:
    """The learning rates that were chosen; paths have that of home alone."""
    chosen = ["hybrid", *(f"{name} alone" for name in ground.meeting.space.names)]
    return {name: ground.meeting.rates[name] for name in chosen if name in ground.meeting.rates}


def architecture(result: dict[str, Any], target: Recipe) -> Architecture:
    """The programmed path, with the names the target uses."""
    space, path = target.search_space(), result["programmed"]
    home = path[0] if space.topology == "hub" else result["target"]["home"]
    return Architecture(space.names, tuple(path), home, space.topology, space.projector)


def show(result: dict[str, Any], out: Path, console: Console) -> None:
    """Print the tables, what they say, and where things are."""
    told = Programming.of(result)
    console.print(standings_table(told))
    console.print(transfer_table(told))
    for sentence in sentences(told):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)
    for what, file in (("report", "report.html"), ("numbers", FILE), ("path", "architecture.json")):
        console.print(f"  {what:8}{out / file}", highlight=False, soft_wrap=True, markup=False)
