"""`manticore bench table`: train every path of a search space by itself and record its scores and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from manticore.config.loading import load_recipe
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.nas.bench import HybridBench
from manticore.report.hybridbench import bench_table
from manticore.studies.launchers import Crew
from manticore.studies.preflight import dry_run, make_scheduler
from manticore.studies.scheduler import run_rounds
from manticore.studies.table import table_of, table_plan, table_study
from manticore.tasks.catalog import load_task
from manticore.utils import assets
from manticore.utils.console import info


def make_tables(configs: Sequence[str], out: Path, crew: Crew, threads: int, console: Console) -> list[HybridBench]:
    """Train every path with every seed for each recipe, and write `out/NAME.json`, where NAME is that of the recipe.

    Trials in `out/trials` are not run again, so a stopped command can be continued. Tables are written one after the
    other.

    Args:
        configs: names or paths of the recipes.
        out: the folder; new, or of earlier tables.
        crew: the processes that run trials.
        threads: number of CPU threads of each; 0: an equal share of torch's choice, on a cluster all of it.
        console: where progress and results are printed.

    Raises ManticoreError, before anything is trained, if a recipe cannot be carried out.
    """
    names = [assets.find("configs", config).stem for config in configs]
    if len(set(names)) < len(names):
        raise ManticoreError(f"two recipes have the same name, which is that of their table: {', '.join(names)}")
    recipes = [load_recipe(config, {}).recipe for config in configs]
    tasks = [load_task(recipe.task) for recipe in recipes]
    experiments = [
        dry_run(recipe, task, setup_hardware(recipe.run)) for recipe, task in zip(recipes, tasks, strict=True)
    ]
    studies = [table_study(exp, task.fingerprint()) for exp, task in zip(experiments, tasks, strict=True)]
    tables = []
    for name, exp, study in zip(names, experiments, studies, strict=True):
        machine = replace(study.recipe, run=replace(study.recipe.run, threads=threads))  # no part of the table
        scheduler = make_scheduler(machine, out, crew, console)
        (outcome,) = run_rounds([table_plan(study)], scheduler.run)
        scheduler.cleanup()
        table = table_of(name, study, outcome, exp)
        table.save(out / f"{name}.json")
        console.print(bench_table(table).rich())
        info(console, f"  table {out / name}.json")
        tables.append(table)
    return tables
