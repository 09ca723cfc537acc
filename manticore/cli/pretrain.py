"""`manticore pretrain`: a small language model from scratch."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import PretrainCommand
from manticore.config.flags import PRETRAIN


def add(commands: Any) -> None:
    """Add `manticore pretrain` to the subparsers."""
    command(
        commands,
        "pretrain",
        PretrainCommand,
        PRETRAIN,
        run,
        "train a small language model on your text, as a component for later searches",
        examples=(
            "manticore pretrain --config pretrain/mamba-nano --text corpus/ --out runs/mamba-nano",
            "manticore pretrain --config pretrain/mamba-nano --text corpus/ --out runs/short --set steps=100",
        ),
        notes="The model is in OUT/model; name that folder on --models of manticore search.",
    )


def run(options: PretrainCommand) -> None:
    """Pretrain."""
    from manticore.pipelines import pretrain
    from manticore.utils.console import make_console

    pretrain.run_command(options, make_console())
