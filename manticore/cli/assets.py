"""`manticore ls`, `show`, `cp` and `validate`: assets that come with the package, and files of the same kinds."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.tool_commands import CopyCommand, ListCommand, ShowCommand, ValidateCommand


def add(commands: Any) -> None:
    """Add the four commands to the subparsers."""
    command(
        commands,
        "ls",
        ListCommand,
        {"kind": "kind"},
        list_assets,
        "list models, tasks, search spaces, projector sets and recipes",
        examples=("manticore ls models",),
    )
    command(
        commands,
        "show",
        ShowCommand,
        {"name": "name"},
        show,
        "print a model, task, search space, projector set or recipe, or all recipe keys",
        examples=(
            "manticore show gpt-neo+mamba",
            "manticore show lra-listops",
            "manticore show recipe",
        ),
    )
    command(
        commands,
        "cp",
        CopyCommand,
        {"name": "name", "dest": "dest"},
        copy,
        "copy a search space, recipe, projector set or model to edit it",
        examples=("manticore cp search/lra-listops my-recipe.yaml",),
    )
    command(
        commands,
        "validate",
        ValidateCommand,
        {"file": "file"},
        validate,
        "check a recipe, search space or projector set without running it",
        examples=("manticore validate my-recipe.yaml", "manticore validate search/text"),
    )


def list_assets(options: ListCommand) -> None:
    """`manticore ls`."""
    from manticore.pipelines import assets

    print(assets.listing(options.kind))


def show(options: ShowCommand) -> None:
    """`manticore show`."""
    from manticore.pipelines import assets

    print(assets.show(options.name))


def copy(options: CopyCommand) -> None:
    """`manticore cp`."""
    from manticore.pipelines import assets

    print(assets.copy(options.name, options.dest))


def validate(options: ValidateCommand) -> None:
    """`manticore validate`."""
    from manticore.pipelines import assets

    print(assets.validate(options.file))
