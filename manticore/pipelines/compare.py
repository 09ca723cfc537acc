"""`manticore compare`: the hybrid against its baselines on equal budgets, over seeds and tasks, with conclusions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from manticore import __version__
from manticore.config.commands import CompareCommand
from manticore.config.loading import load_command
from manticore.config.recipe import Recipe
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.report.study.page import write_study_report
from manticore.report.study.summary import BUDGETS
from manticore.report.study.tables import study_markdown, task_table
from manticore.results.study import StudyResult, TaskResult
from manticore.studies.aggregate import conclusions, task_result
from manticore.studies.estimate import print_comparison_estimate
from manticore.studies.launchers import Crew, start_crew
from manticore.studies.preflight import apply_exclusions, check_study_dir, dry_run, excluded_baselines, make_scheduler
from manticore.studies.scheduler import run_rounds
from manticore.studies.study import Study
from manticore.tasks.catalog import expand_families, load_task
from manticore.training.metrics import metrics
from manticore.utils.console import info
from manticore.utils.devices import choose_device
from manticore.utils.io import write_text


def run_command(options: CompareCommand, console: Console) -> StudyResult:
    """Load a recipe for each task of a command and compare. Raises as `run` does."""
    task_keys = [{"task": {"name": name}} for name in expand_families(options.tasks)]
    recipes = [load_command(options, keys).recipe for keys in task_keys or [{}]]
    with start_crew(options.launch, options.out) as crew:
        return run(recipes, options.out, crew, console)


def run(recipes: Sequence[Recipe], out: Path, crew: Crew, console: Console) -> StudyResult:
    """Compare on the task of each recipe and write `comparison.json`, `tables.md` and `report.html` to `out`.

    Trials in `out/trials` are not run again: a comparison that was stopped resumes, one with more seeds or tasks runs
    what is missing, and several processes or machines may share the folder.

    Args:
        recipes: one for each task, with the same components, seeds and budgets.
        out: the folder; new, or of an earlier comparison.
        crew: the processes that run trials.
        console: where progress and results are printed.

    Raises ManticoreError, before anything is written, if a recipe cannot be carried out.
    """
    started = time.monotonic()
    check_study_dir(out, StudyResult.FILE)
    tasks = [load_task(recipe.task) for recipe in recipes]
    hardware = setup_hardware(recipes[0].run)
    experiments = [dry_run(recipe, task, hardware) for recipe, task in zip(recipes, tasks, strict=True)]

    scheduler = make_scheduler(recipes[0], out, crew, console)
    studies = [
        Study(apply_exclusions(exp, console), task.fingerprint(), metrics[task.metric], exp.search_length)
        for exp, task in zip(experiments, tasks, strict=True)
    ]
    print_comparison_estimate(experiments, studies, console)
    outcomes = run_rounds([study.plan() for study in studies], scheduler.run)
    scheduler.cleanup()

    results = [
        task_result(study, outcome, task, excluded_baselines(exp).values())
        for study, outcome, task, exp in zip(studies, outcomes, tasks, experiments, strict=True)
    ]
    result = study_result(recipes[0], results, crew.workers, time.monotonic() - started)
    result.save(out)
    write_text(out / "tables.md", study_markdown(result))
    write_study_report(out)
    show(result, out, console)
    return result


def study_result(recipe: Recipe, results: Sequence[TaskResult], workers: int, seconds: float) -> StudyResult:
    """The result on all tasks; `recipe` is that of any task."""
    options = recipe.study
    return StudyResult(
        version=__version__,
        components=recipe.space.names,
        seeds=tuple(range(options.seeds)),
        learning_rates=options.learning_rates,
        lr_search_seeds=options.lr_search_seeds,
        tasks=tuple(results),
        conclusions={budget: conclusions(results, budget) for budget in options.budgets},
        machine=environment_info(choose_device(recipe.run.device)),
        workers=workers,
        seconds=seconds,
    )


def show(result: StudyResult, out: Path, console: Console) -> None:
    """Print every table, the conclusions, and the paths of the files."""
    for budget, sentences in result.conclusions.items():
        for task in result.tasks:
            console.print(task_table(task, budget).rich())
        for sentence in sentences:
            info(console, f"with the {BUDGETS[budget]}: {sentence}")
    if len(result.seeds) == 1:
        info(console, "one seed: there are no intervals")
    info(console, f"  report  {out / 'report.html'}\n  numbers {out / StudyResult.FILE}")
