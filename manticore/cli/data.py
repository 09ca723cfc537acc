"""`manticore data`: the official files of a task."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.tool_commands import DataCommand

FLAGS = {
    "task": "task.name",
    "--out": "out",
    "--train": "task.train",
    "--val": "task.val",
    "--test": "task.test",
    "--seed": "task.seed",
    "--preset": "task.preset",
    "--workers": "task.workers",
}


def add(commands: Any) -> None:
    """Add `manticore data` to the subparsers."""
    command(
        commands,
        "data",
        DataCommand,
        FLAGS,
        run,
        "write a task in its official file format",
        examples=("manticore data lra-listops --out listops --train 96000 --val 2000 --test 2000 --seed 0",),
        notes="The preset auto is paper here, with or without a GPU, and numbers of examples default to the official "
        "ones; of Pathfinder, --val and --test default to an eighth of --train.",
    )


def run(options: DataCommand) -> None:
    """Write the files and print their paths."""
    from manticore.tasks.catalog import write_task

    for file in write_task(options.task, options.out):
        print(file)
