"""`manticore select`: another path, or a Pareto front, from a finished search."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import SELECT
from manticore.config.model_commands import SelectCommand


def add(commands: Any) -> None:
    """Add `manticore select` to the subparsers."""
    command(
        commands,
        "select",
        SelectCommand,
        SELECT,
        run,
        "select another path, or a Pareto front, from the scores of a finished search, without searching again",
        examples=(
            "manticore select runs/first --max parameters=300K,cache_bytes=64KiB@512",
            "manticore select runs/first --pareto loss,cache_bytes@8192",
            "manticore select runs/first --max parameters=300K --out runs/small",
        ),
        notes="The paths are fine-tuned and exported only with --out. Scores are those of the search: validation "
        "losses where it evaluated paths, such as with selection.selector=evaluated; else mixing weights or ranks.",
    )


def run(options: SelectCommand) -> None:
    """Select."""
    from manticore.pipelines import select
    from manticore.utils.console import make_console

    select.run(options, make_console())
