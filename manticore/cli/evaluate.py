"""`manticore evaluate`: score an exported hybrid."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import at_least, command, task_flags, task_options
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore evaluate`."""
    made = command(
        commands,
        "evaluate",
        run,
        "score an exported hybrid on a task's test split",
        "manticore evaluate runs/first/hybrid --task lra-listops",
    )
    made.add_argument("hybrid", type=Path, metavar="HYBRID", help="exported folder, or run folder")
    task_flags(made)
    made.add_argument(
        "--batch-size",
        type=at_least(1),
        default=256,
        metavar="N",
        help="sequences scored at once (default 256); fewer need less memory, the numbers are the same",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here as well")


def run(given: argparse.Namespace) -> None:
    """`manticore evaluate`."""
    from manticore.pipelines import evaluate

    evaluate.run(given.hybrid, task_options(given), given.batch_size, given.json, make_console())
