"""`manticore finetune`: more training of an exported hybrid."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import FinetuneCommand
from manticore.config.flags import FINETUNE


def add(commands: Any) -> None:
    """Add `manticore finetune` to the subparsers."""
    command(
        commands,
        "finetune",
        FinetuneCommand,
        FINETUNE,
        run,
        "train an exported hybrid further on a task",
        examples=("manticore finetune runs/first --out runs/longer --steps 2000",),
        notes="The task is that of the run, unless --task names another; an exported folder has the name of its task "
        "only. Other keys of task, finetune and run are set with --set.",
    )


def run(options: FinetuneCommand) -> None:
    """Fine-tune."""
    from manticore.pipelines import finetune
    from manticore.utils.console import make_console

    finetune.run(options, make_console())
