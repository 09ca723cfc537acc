"""`manticore data`: a task to its official files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import at_least, command

USUAL = "default: the official number; of Pathfinder an eighth of --train where that is given"
"""How many examples of val and test are written where nobody says how many."""


def add(commands: Any) -> None:
    """The words of `manticore data`."""
    made = command(
        commands,
        "data",
        run,
        "write a task in its official file format",
        "manticore data lra-listops --out listops --train 96000 --val 2000 --test 2000 --seed 0",
    )
    made.add_argument("task", metavar="TASK", help="task (ls tasks)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    made.add_argument("--train", type=int, metavar="N", help="train examples; default: the official number")
    for part in ("val", "test"):
        made.add_argument(f"--{part}", type=int, metavar="N", help=f"{part} examples; {USUAL}")
    made.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="seed of the generator")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), default="auto", help="scale; auto means paper here")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="processes; 0: all cores")


def run(given: argparse.Namespace) -> None:
    """`manticore data`."""
    from manticore.tasks.catalog import write_task
    from manticore.tasks.options import TaskOptions

    options = TaskOptions(
        name=given.task,
        preset=given.preset,
        train=given.train,
        val=given.val,
        test=given.test,
        seed=given.seed,
        workers=given.workers,
    )
    for file in write_task(options, given.out):
        print(file)
