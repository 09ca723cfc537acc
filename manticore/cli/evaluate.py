"""`manticore evaluate`: the score of an exported hybrid."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import EvaluateCommand
from manticore.config.flags import EVALUATE


def add(commands: Any) -> None:
    """Add `manticore evaluate` to the subparsers."""
    command(
        commands,
        "evaluate",
        EvaluateCommand,
        EVALUATE,
        run,
        "score an exported hybrid on a task's test split",
        examples=("manticore evaluate runs/first/hybrid --task lra-listops",),
    )


def run(options: EvaluateCommand) -> None:
    """Evaluate."""
    from manticore.pipelines import evaluate
    from manticore.utils.console import make_console

    evaluate.run(options, make_console())
