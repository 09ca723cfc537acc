"""`manticore compare`: hybrids and baselines on one or more tasks, over seeds."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.cli.search import RECIPE_FLAGS
from manticore.config.commands import CompareCommand

STUDY_FLAGS = {
    "--seeds": "keys.study.seeds",
    "--learning-rates": "keys.study.learning_rates",
    "--workers": "workers",
    "--out": "out",
}
"""Flags of every command that runs trials."""

FLAGS = {
    "--task": "tasks",
    **RECIPE_FLAGS,
    **STUDY_FLAGS,
    "--baselines": "keys.study.baselines",
    "--budgets": "keys.study.budgets",
    "--all-paths": "keys.study.paths",
    "--path-seeds": "keys.study.path_seeds",
}


def add(commands: Any) -> None:
    """Add `manticore compare` to the subparsers."""
    command(
        commands,
        "compare",
        CompareCommand,
        FLAGS,
        run,
        "compare the hybrid with baselines over seeds, each at its best learning rate, on equal tokens and operations",
        examples=(
            "manticore compare --models gpt-neo,mamba --task lra-listops --seeds 5 --out runs/fair",
            "manticore compare --models gpt-neo,mamba --task mad --workers 2 --out runs/mad",
        ),
        notes="The same --out again resumes; more --seeds or another --task add to it. Several shells or machines that "
        "share the folder share the work. manticore show recipe lists the keys of --set.",
    )


def run(options: CompareCommand) -> None:
    """Load a recipe for each task and compare."""
    from manticore.config.loading import load_command
    from manticore.pipelines import compare
    from manticore.tasks.catalog import expand_families
    from manticore.utils.console import make_console

    task_keys = [{"task": {"name": name}} for name in expand_families(options.tasks)]
    recipes = [load_command(options, keys).recipe for keys in task_keys or [{}]]
    compare.run(recipes, options.out, options.workers, make_console())
