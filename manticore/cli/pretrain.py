"""`manticore pretrain`: a small language model from nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore import terminal
from manticore.cli.parsing import command


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
        "--leave-out",
        type=Path,
        metavar="PATH",
        help="text to evaluate on later: paragraphs that share 13 words in a row with it are not learnt from",
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the model")
    made.add_argument("--resume", action="store_true", help="go on with the pretraining in --out")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any recipe key; may be repeated")


def run(given: argparse.Namespace) -> None:
    """`manticore pretrain`."""
    from manticore import library
    from manticore.pretrain_recipe import pretrain_recipe
    from manticore.recipe_reading import from_dotted, read_yaml
    from manticore.runs import pretrain

    held = read_yaml(library.find("configs", given.config))
    recipe = pretrain_recipe([held, from_dotted(given.set)])
    pretrain.run(recipe, given.text, given.tokenizer, given.out, given.resume, terminal.console(), given.leave_out)
