"""`manticore compare`: the hybrid and its rivals on one budget, over seeds and tasks, and a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from manticore import __version__
from manticore.config.recipe import Recipe
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.report.study.page import write_study_report
from manticore.report.study.summary import BUDGETS
from manticore.report.study.tables import overview_table, task_table
from manticore.results.study import StudyResult
from manticore.studies.aggregate import (
    conclusions,
    correlation,
    differences,
    discretization_gap,
    document_leads,
    exported,
    path_rows,
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
from manticore.utils.io import write_json, write_text

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
    check_study_dir(out, RESULT)
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
    records = [
        {**record(study, task, outcome), "absent": list(excluded_baselines(exp).values())}
        for study, task, outcome, exp in zip(studies, tasks, outcomes, shops, strict=True)
    ]
    study = recipes[0].study
    result = {
        "manticore": __version__,
        "machine": environment_info(),
        "workers": workers,
        "seconds": time.monotonic() - started,
        "seeds": list(range(study.seeds)),
        "learning_rates": list(study.learning_rates),
        "lr_search_seeds": study.lr_search_seeds,
        "components": list(recipes[0].space.names),
        "tasks": records,
        "verdicts": {budget: conclusions(records, budget) for budget in study.budgets},
    }
    write_json(out / RESULT, result)
    write_text(out / "tables.md", tables(result))
    write_study_report(out)
    show(result, out, console)
    return result


def record(study: Study, task: Task, outcome: StudyOutcome) -> dict[str, Any]:
    """Everything about one task, as in comparison.json."""
    tables, recipe, metric = study_tables(study, outcome), study.recipe, study.metric
    hybrid = tables["tokens"][0]
    paths = path_rows(outcome.paths, hybrid, metric)
    return {
        "task": task.name,
        "metric": metric.name,
        "kind": task.kind,
        "base": outcome.base,
        "sequences": study.steps * recipe.finetune.batch_size,
        "train_flops": outcome.train_flops,
        "tables": {budget: tables[budget] for budget in recipe.study.budgets},
        "guesses": task.heuristic_baselines(),
        "gap": discretization_gap(hybrid, metric),
        "exported": exported(tables["tokens"], metric),
        "paths": paths,
        "regret": regret(paths, hybrid, metric),
        "correlation": correlation(paths, study.space.candidates, hybrid, metric),
        "differences": {budget: differences(tables[budget], metric) for budget in recipe.study.budgets},
        "document_leads": {budget: document_leads(tables[budget]) for budget in recipe.study.budgets},
    }


def show(result: dict[str, Any], out: Path, console: Console) -> None:
    """Print every table, the verdicts and where things are."""
    study = StudyResult.of(result)
    for budget, sentences in study.verdicts.items():
        for task in study.matches:
            console.print(task_table(task, budget).rich())
        for sentence in sentences:
            info(console, f"with the {BUDGETS[budget]}: {sentence}")
    info(console, f"  report  {out / 'report.html'}\n  numbers {out / RESULT}")


def tables(result: dict[str, Any]) -> str:
    """All tables and verdicts as Markdown, an overview first."""
    study, parts = StudyResult.of(result), []
    for budget, sentences in study.verdicts.items():
        parts += [f"# {BUDGETS[budget].capitalize()}", overview_table(study, budget).markdown()]
        parts += ["\n".join(f"- {sentence}" for sentence in sentences)]
        parts += [f"## {task.task}\n\n{task_table(task, budget).markdown()}" for task in study.matches]
    return "\n\n".join(part.strip() for part in parts) + "\n"
