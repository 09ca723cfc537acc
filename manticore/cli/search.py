"""`manticore search`: flags to a recipe, and the recipe to a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import add_flags, at_least, command, recipe_of_flags
from manticore.errors import ManticoreError
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore search`."""
    made = command(
        commands,
        "search",
        run,
        "search the best hybrid for a task, fine-tune it, compare it, export it",
        "manticore search --models gpt-neo,mamba --task lra-listops --out runs/first\n"
        "  manticore search --space gpt-neo+mamba --task lra-listops --set search.steps=1000 --set space.stages=2\n"
        "\nmanticore show recipe lists every key that --set takes.",
    )
    made.add_argument("--task", metavar="T", help="task to search on (ls tasks); default: the recipe's")
    add_flags(made)
    made.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one under runs/")
    made.add_argument("--seed", type=at_least(0), metavar="N", help="seed of weights, batches and the random path")
    made.add_argument("--resume", action="store_true", help="go on with the run in --out, if it holds one")


def run(given: argparse.Namespace) -> None:
    """`manticore search`."""
    if given.resume and given.out is None:
        raise ManticoreError("--resume needs --out: the folder of the run to go on with")
    from manticore.experiment.run_dir import unused_run_dir
    from manticore.pipelines import search

    saved = given.out / "recipe.yaml" if given.resume else None
    if saved is not None and saved.exists() and not (given.models or given.space or given.config or given.task):
        given.config = str(saved)
    recipe, reason = recipe_of_flags(given, given.task, {} if given.seed is None else {"run": {"seed": given.seed}})
    out = given.out or unused_run_dir(f"{recipe.task.name}-{'+'.join(recipe.space.names)}")
    search.run(recipe, out, make_console(), given.resume, reason)
