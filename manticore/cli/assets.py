"""`manticore ls`, `show`, `cp`, `validate` and `schema`: assets of the package, and files of the same kinds."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.tool_commands import CopyCommand, ListCommand, SchemaCommand, ShowCommand, ValidateCommand


def add(commands: Any) -> None:
    """Add the five commands to the subparsers."""
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
    command(
        commands,
        "schema",
        SchemaCommand,
        {"kind": "kind"},
        schema,
        "print the JSON schema of recipes, search spaces or pretraining recipes, for editors",
        examples=("manticore schema recipe", "manticore schema space"),
        notes="Editors with a YAML language server complete and check a file whose first line is "
        "# yaml-language-server: $schema=PATH. The shipped files have that line, and manticore cp writes it. The "
        "printed schema also has the names that plug-ins of this installation have registered.",
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


def schema(options: SchemaCommand) -> None:
    """`manticore schema`."""
    from manticore.pipelines import assets

    print(assets.schema(options.kind))
