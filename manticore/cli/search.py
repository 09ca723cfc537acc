"""`manticore search`: one hybrid for one task."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import SearchCommand
from manticore.config.flags import SEARCH


def add(commands: Any) -> None:
    """Add `manticore search` to the subparsers."""
    command(
        commands,
        "search",
        SearchCommand,
        SEARCH,
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
    """Search."""
    from manticore.pipelines import search
    from manticore.utils.console import make_console

    search.run_command(options, make_console())
