"""`manticore plan`: what a search would train, and what that takes."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import PlanCommand
from manticore.config.flags import PLAN


def add(commands: Any) -> None:
    """Add `manticore plan` to the subparsers."""
    command(
        commands,
        "plan",
        PlanCommand,
        PLAN,
        run,
        "print what a search would train, in which order, and its time, memory and disk, by a few steps",
        examples=(
            "manticore plan --models gpt-neo,mamba --task lra-listops",
            "manticore plan --config search/text --max parameters=largest_component",
        ),
        notes="The flags are those of manticore search. Nothing is written but the data of the task, which is cached. "
        "Time and memory are those of this machine; close other programs first.",
    )


def run(options: PlanCommand) -> None:
    """Plan."""
    from manticore.pipelines import plan
    from manticore.utils.console import make_console

    plan.run(options, make_console())
