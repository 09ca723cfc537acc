"""`manticore grow`: a recurrent twin of a pretrained transformer."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import GROW
from manticore.config.grow import GrowCommand


def add(commands: Any) -> None:
    """Add `manticore grow` to the subparsers."""
    command(
        commands,
        "grow",
        GrowCommand,
        GROW,
        run,
        "grow a twin of a pretrained transformer with Mamba or Mamba-2 in place of attention",
        examples=(
            "manticore grow smollm2-instruct --text books/ --out smollm2-mamba2 --workers 2",
            "manticore grow ./neo --mixer mamba --layers 2,4 --text book.txt --out neo-mamba",
            "manticore search --config search/twin --models smollm2-instruct,./smollm2-mamba2 --base smollm2-instruct "
            "--teacher smollm2-instruct --stages 30 --data-dir books/ --max cache_bytes=50%@4096",
        ),
        notes="Every mixer starts from the weights of the attention that it replaces and learns its outputs on cached "
        "inputs, one layer at a time. The table has, for each layer, the error at the start and after training on "
        "held-out text, as a share of the variance of attention's outputs, and the loss of the parent with this layer "
        "alone replaced.",
    )


def run(options: GrowCommand) -> None:
    """Grow."""
    from manticore.pipelines import grow
    from manticore.utils.console import make_console

    grow.run(options, make_console())
