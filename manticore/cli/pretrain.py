"""`manticore pretrain`: a small language model from scratch."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import PretrainCommand

FLAGS = {
    "--config": "config",
    "--text": "text",
    "--tokenizer": "tokenizer",
    "--decontaminate": "decontaminate",
    "--out": "out",
    "--resume": "resume",
    "--set": "overrides",
}


def add(commands: Any) -> None:
    """Add `manticore pretrain` to the subparsers."""
    command(
        commands,
        "pretrain",
        PretrainCommand,
        FLAGS,
        run,
        "train a small language model on your text, as a component for later searches",
        examples=(
            "manticore pretrain --config pretrain/mamba-nano --text corpus/ --out runs/mamba-nano",
            "manticore pretrain --config pretrain/mamba-nano --text corpus/ --out runs/short --set steps=100",
        ),
        notes="The model is in OUT/model; name that folder on --models of manticore search.",
    )


def run(options: PretrainCommand) -> None:
    """Load the recipe and train."""
    from manticore.config.loading import from_dotted, read_yaml
    from manticore.config.pretrain import pretrain_recipe
    from manticore.pipelines import pretrain
    from manticore.utils import assets
    from manticore.utils.console import make_console

    recipe = pretrain_recipe([read_yaml(assets.find("configs", options.config)), from_dotted(options.overrides)])
    pretrain.run(recipe, options, make_console())
