"""`manticore pretrain`: a small language model from nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import command
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore pretrain`."""
    made = command(
        commands,
        "pretrain",
        run,
        "train a small language model on your text, to be a component later",
        "manticore pretrain --config pretrain/mamba-nano --text corpus/ --out runs/mamba-nano",
    )
    made.add_argument("--config", metavar="R", required=True, help="recipe by name or path (ls configs)")
    made.add_argument("--text", type=Path, required=True, metavar="PATH", help=".txt, .jsonl or .parquet, or a folder")
    made.add_argument("--tokenizer", type=Path, metavar="DIR", help="folder of a tokenizer; default: learn one")
    made.add_argument(
        "--decontaminate",
        type=Path,
        metavar="PATH",
        help="text to evaluate on later: paragraphs that share 13 words in a row with it are not learnt from",
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the model")
    made.add_argument("--resume", action="store_true", help="go on with the pretraining in --out")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any recipe key; may be repeated")


def run(given: argparse.Namespace) -> None:
    """`manticore pretrain`."""
    from manticore.config.loading import from_dotted, read_yaml
    from manticore.config.pretrain import pretrain_recipe
    from manticore.pipelines import pretrain
    from manticore.utils import assets

    held = read_yaml(assets.find("configs", given.config))
    recipe = pretrain_recipe([held, from_dotted(given.set)])
    pretrain.run(recipe, given.text, given.tokenizer, given.out, given.resume, make_console(), given.decontaminate)
