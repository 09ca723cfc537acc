"""`manticore compare`: hybrids and baselines on one or more tasks, over seeds."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import CompareCommand
from manticore.config.flags import COMPARE


def add(commands: Any) -> None:
    """Add `manticore compare` to the subparsers."""
    command(
        commands,
        "compare",
        CompareCommand,
        COMPARE,
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
    """Compare."""
    from manticore.pipelines import compare
    from manticore.utils.console import make_console

    compare.run_command(options, make_console())
