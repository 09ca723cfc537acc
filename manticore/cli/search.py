"""`manticore search`: one hybrid for one task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from manticore.cli.options import command
from manticore.config.commands import SearchCommand

RECIPE_FLAGS = {
    "--models": "keys.space.components",
    "--config": "config",
    "--space": "space",
    "--preset": "keys.task.preset",
    "--base": "keys.space.base",
    "--strategy": "keys.search.strategy",
    "--topology": "keys.space.topology",
    "--projector": "keys.space.projector",
    "--stages": "keys.space.stages",
    "--data-dir": "keys.task.data_dir",
    "--set": "overrides",
    "--trust-code": "trust_code",
}
"""Flags of every command that runs recipes."""

FLAGS = {
    "--task": "keys.task.name",
    **RECIPE_FLAGS,
    "--seed": "keys.run.seed",
    "--out": "out",
    "--resume": "resume",
}


def add(commands: Any) -> None:
    """Add `manticore search` to the subparsers."""
    command(
        commands,
        "search",
        SearchCommand,
        FLAGS,
        run,
        "search for the best hybrid on a task, fine-tune it, compare it and export it",
        examples=(
            "manticore search --models gpt-neo,mamba --task lra-listops --out runs/first",
            "manticore search --space gpt-neo+mamba --task lra-listops --set search.steps=1000 --set space.stages=2",
            "manticore search --config search/paper --task lra-listops",
        ),
        notes="A recipe key without a flag is set with --set; manticore show recipe lists all keys and their defaults. "
        "Later settings win: defaults, recipe file, its preset, flags, --set.",
    )


def run(options: SearchCommand) -> None:
    """Load the recipe and run it."""
    from manticore.config.loading import load_command
    from manticore.experiment.run_dir import unused_run_dir
    from manticore.pipelines import search
    from manticore.utils.console import make_console

    saved = options.out / "recipe.yaml" if options.resume and options.out else None
    named = options.config or options.space or options.keys.keys() & {"space", "task"}
    if saved is not None and saved.exists() and not named:
        options = replace(options, config=str(saved))
    recipe, reason = load_command(options)
    out = options.out or unused_run_dir(f"{recipe.task.name}-{'+'.join(recipe.space.names)}")
    search.run(recipe, out, make_console(), options.resume, reason)
