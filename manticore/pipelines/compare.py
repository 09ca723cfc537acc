"""`manticore compare`: the hybrid and its rivals on one budget, over seeds and tasks, and a verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from manticore import __version__
from manticore.config.recipe import Recipe
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.report.study.page import write_study_report
from manticore.report.study.summary import BUDGETS
from manticore.report.study.tables import overview_table, task_table
from manticore.results.study import StudyResult, TaskResult
from manticore.studies.aggregate import (
    conclusions,
    correlation,
    discretization_gap,
    document_leads,
    exported,
    leads,
    path_results,
    regret,
    study_tables,
)
from manticore.studies.preflight import apply_exclusions, check_study_dir, dry_run, excluded_baselines, make_scheduler
from manticore.studies.scheduler import run_rounds
from manticore.studies.study import Study, StudyOutcome
from manticore.tasks.catalog import load_task
from manticore.tasks.task import Task
from manticore.training.metrics import metrics
from manticore.utils.console import info
from manticore.utils.io import write_text


def run(recipes: Sequence[Recipe], out: Path, workers: int, console: Console) -> StudyResult:
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
    check_study_dir(out, StudyResult.FILE)
    started = time.monotonic()
    tasks = [load_task(recipe.task) for recipe in recipes]
    machine = setup_hardware(recipes[0].run)
    shops = [dry_run(recipe, task, machine) for recipe, task in zip(recipes, tasks, strict=True)]
    crew = make_scheduler(recipes[0], out, workers, console)
    studies = [
        Study(apply_exclusions(exp, console), task.fingerprint(), metrics[task.metric])
        for exp, task in zip(shops, tasks, strict=True)
    ]
    outcomes = run_rounds([study.plan() for study in studies], crew.run)
    crew.cleanup()
    results = tuple(
        task_result(study, task, outcome, excluded_baselines(exp).values())
        for study, task, outcome, exp in zip(studies, tasks, outcomes, shops, strict=True)
    )
    options = recipes[0].study
    result = StudyResult(
        version=__version__,
        components=recipes[0].space.names,
        seeds=tuple(range(options.seeds)),
        learning_rates=options.learning_rates,
        lr_search_seeds=options.lr_search_seeds,
        tasks=results,
        conclusions={budget: conclusions(results, budget) for budget in options.budgets},
        machine=environment_info(),
        workers=workers,
        seconds=time.monotonic() - started,
    )
    result.save(out)
    write_text(out / "tables.md", tables(result))
    write_study_report(out)
    show(result, out, console)
    return result


def task_result(study: Study, task: Task, outcome: StudyOutcome, excluded: Iterable[str]) -> TaskResult:
    """The result on one task."""
    metric, budgets = study.metric, study.recipe.study.budgets
    tables = study_tables(study, outcome)
    hybrid = tables["tokens"][0]
    paths = path_results(outcome.paths, hybrid.searches, metric)
    scores = {path.path: path.score.mean for path in paths}
    return TaskResult(
        task=task.name,
        metric=metric,
        kind=task.kind,
        base=outcome.base,
        excluded=tuple(excluded),
        sequences=study.steps * study.recipe.finetune.batch_size,
        train_flops=outcome.train_flops,
        tables={budget: tables[budget] for budget in budgets},
        heuristics=task.heuristic_baselines(),
        gap=discretization_gap(hybrid, metric),
        exported=exported(tables["tokens"], metric),
        paths=paths,
        regret=regret(scores, [search.path for search in hybrid.searches], metric),
        correlation=correlation(scores, study.space.candidates, [search.weights for search in hybrid.searches], metric),
        leads={budget: leads(tables[budget], metric) for budget in budgets},
        document_leads={budget: document_leads(tables[budget]) for budget in budgets},
    )


def show(result: StudyResult, out: Path, console: Console) -> None:
    """Print every table, the conclusions and where things are."""
    for budget, sentences in result.conclusions.items():
        for task in result.tasks:
            console.print(task_table(task, budget).rich())
        for sentence in sentences:
            info(console, f"with the {BUDGETS[budget]}: {sentence}")
    info(console, f"  report  {out / 'report.html'}\n  numbers {out / StudyResult.FILE}")


def tables(result: StudyResult) -> str:
    """All tables and conclusions as Markdown, an overview first."""
    parts = []
    for budget, sentences in result.conclusions.items():
        parts += [f"# {BUDGETS[budget].capitalize()}", overview_table(result, budget).markdown()]
        parts += ["\n".join(f"- {sentence}" for sentence in sentences)]
        parts += [f"## {task.task}\n\n{task_table(task, budget).markdown()}" for task in result.tasks]
    return "\n\n".join(part.strip() for part in parts) + "\n"
