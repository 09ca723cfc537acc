"""`manticore finetune`: train an exported hybrid further."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import above_zero, at_least, command, task_flags, task_options
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore finetune`."""
    made = command(
        commands,
        "finetune",
        run,
        "train an exported hybrid further on a task",
        "manticore finetune runs/first/hybrid --task lra-listops --out runs/longer --steps 2000",
    )
    made.add_argument("hybrid", type=Path, metavar="HYBRID", help="exported folder, or run folder")
    task_flags(made)
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the trained hybrid")
    made.add_argument("--steps", type=at_least(1), default=400, metavar="N", help="optimizer steps (default 400)")
    made.add_argument("--lr", type=above_zero, default=1e-3, metavar="X", help="peak learning rate (default 1e-3)")
    made.add_argument(
        "--batch-size", type=at_least(1), default=64, metavar="N", help="sequences in a batch (default 64)"
    )
    made.add_argument(
        "--micro-batch-size",
        type=at_least(0),
        default=0,
        metavar="N",
        help="sequences that go through the model at once; 0, the default: the whole batch; "
        "fewer need less memory and learn the same, for their gradients add up",
    )
    made.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of the batches")
    made.add_argument("--resume", action="store_true", help="go on with the fine-tuning in --out")


def run(given: argparse.Namespace) -> None:
    """`manticore finetune`."""
    from manticore.pipelines import finetune
    from manticore.training.options import WeightOptions

    finetune.run(
        given.hybrid,
        task_options(given),
        given.out,
        given.steps,
        given.batch_size,
        WeightOptions(lr=given.lr),
        given.seed,
        given.resume,
        make_console(),
        given.micro_batch_size,
    )
