"""`manticore transfer`: search on cheap proxy tasks, use the path on a target, measure how well the proxies predict.

The third use of "Pretrained Hybrids with MAD Skills" (arXiv 2406.00894), which calls it programming a hybrid: the path
is chosen on proxies, so that the target needs no search. Every path of the space is trained on proxies and target, so
that the choice can be compared with all others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from manticore import __version__
from manticore.config.commands import TransferCommand
from manticore.config.loading import load_command
from manticore.config.recipe import Recipe
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.nas.architecture import Architecture
from manticore.nas.topologies import topologies
from manticore.report.transfer.page import write_transfer_report
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import proxy_table, target_table
from manticore.results.transfer import TransferResult
from manticore.studies.estimate import print_transfer_estimate
from manticore.studies.launchers import Crew, start_crew
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
from manticore.studies.transfer_results import (
    chosen_path,
    correlations,
    costs,
    path_scores,
    proxy_result,
    target_info,
    target_search,
    transfer_arms,
)
from manticore.tasks.catalog import expand_families, load_task
from manticore.tasks.task import Task
from manticore.utils.console import info
from manticore.utils.devices import choose_device


def run_command(options: TransferCommand, console: Console) -> TransferResult:
    """Load a recipe for each proxy and for the target of a command, and transfer. Raises as `run` does."""
    task_keys = {key: value for key, value in options.keys.get("task", {}).items() if key != "data_dir"}
    generated = replace(options, keys={**options.keys, "task": task_keys})
    proxies = [load_command(generated, {"task": {"name": name}}).recipe for name in expand_families(options.proxies)]
    # Base, candidates of stages and cuts name the proxies' models; on the target they are those at the same index.
    target = load_command(options, {"task": {"name": options.target}}, options.target_models).recipe
    with start_crew(options.launch, options.out) as crew:
        return run(proxies, target, options.out, crew, console, options.search_target)


def run(
    proxies: Sequence[Recipe],
    target: Recipe,
    out: Path,
    crew: Crew,
    console: Console,
    search_target: bool = False,
) -> TransferResult:
    """Choose a path on the proxies and write `transfer.json`, `architecture.json` and `report.html` to `out`.

    Trials in `out/trials` are not run again, so a stopped study continues, and several processes or machines may share
    the folder.

    Args:
        proxies: recipes of the tasks that are searched.
        target: recipe of the task that the path is transferred to; its components correspond to those of the proxies by
            index.
        out: the folder; new, or of the same study.
        crew: the processes that run trials.
        console: where progress and results are printed.
        search_target: whether to search the target too, for comparison.

    Raises ManticoreError, before anything is written, if a recipe cannot be used.
    """
    check_study_dir(out, TransferResult.FILE)
    check_transfer(proxies, target)
    started = time.monotonic()
    recipes = [without_budget(recipe) for recipe in (*proxies, target)]
    hardware = setup_hardware(target.run)
    tasks = [load_task(recipe.task) for recipe in recipes]
    check_metrics(tasks)
    experiments = [dry_run(recipe, task, hardware) for recipe, task in zip(recipes, tasks, strict=True)]
    data = [task.fingerprint() for task in tasks]
    check_data(tasks, data)
    studies = [
        Study(exp.recipe, fingerprint, search_length=exp.search_length)
        for exp, fingerprint in zip(experiments, data, strict=True)
    ]
    print_transfer_estimate(experiments, studies, search_target, console)
    del experiments  # trials load their own models
    scheduler = make_scheduler(target, out, crew, console)
    trained = run_transfer([task.name for task in tasks], studies, search_target, scheduler.run)
    scheduler.cleanup()
    result = transfer_result(trained, tasks[-1], crew.workers, time.monotonic() - started)
    result.save(out)
    architecture(result, target).save(out / "architecture.json")
    write_transfer_report(out)
    show(result, out, console)
    return result


def transfer_result(trained: Sequence[TaskStudy], target_task: Task, workers: int, seconds: float) -> TransferResult:
    """The result, from the trials on the proxies and on the target, which is last."""
    *proxies, target = trained
    options = target.study.recipe.study
    paths = path_scores(proxies, target)
    return TransferResult(
        version=__version__,
        components=proxies[0].study.space.names,
        proxies=tuple(map(proxy_result, proxies)),
        target=target_info(target, target_task),
        path=chosen_path(paths).path,
        arms=transfer_arms(paths, target),
        search=target_search(paths, target),
        correlations=correlations(paths, target),
        costs=costs(proxies, target),
        paths=paths,
        seeds=tuple(target.study.seeds),
        learning_rates=options.learning_rates,
        lr_search_seeds=options.lr_search_seeds,
        machine=environment_info(choose_device(target.study.recipe.run.device)),
        workers=workers,
        seconds=seconds,
    )


def architecture(result: TransferResult, target: Recipe) -> Architecture:
    """The chosen path, with the names of the target's components."""
    space = target.space
    base = topologies[space.topology]().base_of(result.path, result.target.base)
    return Architecture(space.names, result.path, base, space.topology, space.projector)


def show(result: TransferResult, out: Path, console: Console) -> None:
    """Print the tables, the conclusions and the paths of the files."""
    console.print(target_table(result).rich())
    console.print(proxy_table(result).rich())
    for sentence in sentences(result):
        info(console, sentence)
    for name, file in (("report", "report.html"), ("numbers", TransferResult.FILE), ("path", "architecture.json")):
        info(console, f"  {name:8}{out / file}")
