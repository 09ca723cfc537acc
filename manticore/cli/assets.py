"""`manticore ls`, `show`, `cp` and `validate`: what the shelf holds, in one call each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import command


def add(commands: Any) -> None:
    """The words of the four commands."""
    ls = command(commands, "ls", run, "list what there is to pick from", "manticore ls models")
    ls.add_argument(
        "kind", nargs="?", metavar="KIND", help="models, tasks, spaces, projectors or configs; default: all"
    )
    show = command(
        commands, "show", run, "print a thing by name, or the keys of a recipe", "manticore show gpt-neo+mamba"
    )
    show.add_argument("name", metavar="NAME", help="a model, task, space, projector set or recipe; or the word recipe")
    cp = command(
        commands, "cp", run, "copy a space or recipe to edit", "manticore cp search/lra-listops my-recipe.yaml"
    )
    cp.add_argument("name", metavar="NAME", help="space, projector set or recipe (ls)")
    cp.add_argument("dest", type=Path, metavar="DEST", help="file or folder to make; must not exist")
    validate = command(
        commands,
        "validate",
        run,
        "check a recipe, search space or projector set without running it",
        "manticore validate r.yaml",
    )
    validate.add_argument("file", type=Path, metavar="FILE", help="YAML of a recipe or space, or a projector set")


def run(given: argparse.Namespace) -> None:
    """Whichever of the four was asked for."""
    from manticore.pipelines import assets

    match given.command:
        case "ls":
            print(assets.listing(given.kind))
        case "show":
            print(assets.show(given.name))
        case "cp":
            print(assets.copy(given.name, given.dest))
        case "validate":
            print(assets.validate(given.file))
