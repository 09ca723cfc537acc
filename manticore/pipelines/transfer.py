"""`manticore transfer`: search on cheap proxy tasks, carry the path to the target, and tell how well proxies predict.

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
from manticore.config.recipe import Recipe
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.nas.architecture import Architecture
from manticore.nas.topologies import topologies
from manticore.report.transfer.page import write_transfer_report
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import proxy_table, target_table
from manticore.results.transfer import FILE, TransferResult
from manticore.studies.preflight import (
    check_data,
    check_metrics,
    check_study_dir,
    check_transfer,
    dry_run,
    make_scheduler,
    without_budget,
)
from manticore.studies.study import Study
from manticore.studies.transfer import TaskStudy, run_transfer
from manticore.studies.transfer_results import chosen_path, correlations, costs, path_rows, searched_path, transfer_arms
from manticore.tasks.catalog import load_task
from manticore.tasks.task import Task
from manticore.utils.console import info
from manticore.utils.io import write_json


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
    check_study_dir(out, FILE)
    check_transfer(proxies, target)
    started = time.monotonic()
    recipes = [without_budget(recipe) for recipe in (*proxies, target)]
    machine = setup_hardware(target.run)
    tasks = [load_task(recipe.task) for recipe in recipes]
    check_metrics(tasks)
    for recipe, task in zip(recipes, tasks, strict=True):
        dry_run(recipe, task, machine)
    data = [task.fingerprint() for task in tasks]
    check_data(tasks, data)
    studies = [Study(*held) for held in zip(recipes, data, strict=True)]
    crew = make_scheduler(target, out, workers, console)
    grounds = run_transfer([task.name for task in tasks], studies, search_target, crew.run)
    crew.cleanup()
    seconds = time.monotonic() - started
    result = {
        "manticore": __version__,
        "machine": environment_info(),
        "workers": workers,
        "seconds": seconds,
        **record(grounds, tasks),
    }
    write_json(out / FILE, result)
    architecture(result, target).save(out / "architecture.json")
    write_transfer_report(out)
    show(result, out, console)
    return result


def record(grounds: Sequence[TaskStudy], tasks: Sequence[Task]) -> dict[str, Any]:
    """Everything that was found, as in program.json."""
    *proxies, target = grounds
    study = target.study.recipe.study
    paths = path_rows(proxies, target)
    return {
        "seeds": list(target.study.seeds),
        "learning_rates": list(study.learning_rates),
        "lr_search_seeds": study.lr_search_seeds,
        "components": list(proxies[0].study.space.names),
        "proxies": [proxy_record(*held) for held in zip(proxies, tasks, strict=False)],
        "target": {
            "task": target.task,
            "metric": tasks[-1].metric,
            "kind": tasks[-1].kind,
            "components": list(target.study.space.names),
            "base": target.base,
            "rates": rates(target),
            "guesses": tasks[-1].heuristic_baselines(),
        },
        "programmed": chosen_path(paths)["path"],
        "standings": transfer_arms(paths, target),
        "search": searched_path(paths, target),
        "correlations": correlations(paths, [ground.task for ground in proxies]),
        "costs": costs(proxies, target),
        "paths": paths,
    }


def proxy_record(ground: TaskStudy, task: Task) -> dict[str, Any]:
    """What the searches on one proxy came to."""
    return {
        "task": ground.task,
        "metric": task.metric,
        "base": ground.base,
        "rates": rates(ground),
        "searches": [{key: held[key] for key in ("path", "weights", "score")} for held in ground.results["hybrid"]],
    }


def rates(ground: TaskStudy) -> dict[str, float]:
    """The learning rates that were chosen; paths have that of base alone."""
    chosen = ["hybrid", *(f"{name} alone" for name in ground.study.space.names)]
    return {name: ground.study.learning_rates[name] for name in chosen if name in ground.study.learning_rates}


def architecture(result: dict[str, Any], target: Recipe) -> Architecture:
    """The programmed path, with the names the target uses."""
    space, path = target.space, result["programmed"]
    base = topologies[space.topology]().base_of(path, result["target"]["base"])
    return Architecture(space.names, tuple(path), base, space.topology, space.projector)


def show(result: dict[str, Any], out: Path, console: Console) -> None:
    """Print the tables, what they say, and where things are."""
    told = TransferResult.of(result)
    console.print(target_table(told).rich())
    console.print(proxy_table(told).rich())
    for sentence in sentences(told):
        info(console, sentence)
    for what, file in (("report", "report.html"), ("numbers", FILE), ("path", "architecture.json")):
        info(console, f"  {what:8}{out / file}")
