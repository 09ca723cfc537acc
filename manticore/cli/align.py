"""`manticore align`: pretrained models and text to a projector set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import at_least, command, names
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore align`."""
    made = command(
        commands,
        "align",
        run,
        "fit the projectors between pretrained models on text, in closed form",
        "manticore align --models ./my-gpt-neo,./my-mamba --stages 4 --text book.txt --out my-projectors\n"
        "\nNo gradient is needed. The table says for every stage how much of the other model's stream P recovers from\n"
        "base's (R²), how much of base's update Q recovers from the other's, and how long the updates are.\n"
        "\nThe other model's update need not carry what of base's update is linear in base's own stream. So a bypass,\n"
        "a linear map from base's stream to base's, is fitted together with Q. A search with such a set needs\n"
        "--set space.projector_options.bypass=true.",
    )
    made.add_argument("--models", type=names, required=True, metavar="A,B", help="aliases, hub ids or local folders")
    made.add_argument("--base", metavar="M", help="who lends embedding, stream, norm and head; default: the first")
    made.add_argument("--stages", type=at_least(1), default=4, metavar="S", help="number of stages (default 4)")
    made.add_argument(
        "--text",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help=".txt, .jsonl, .parquet or text in UTF-8",
    )
    made.add_argument(
        "--tokens", type=at_least(1), default=16384, metavar="N", help="base tokens to fit on, about (default 16384)"
    )
    made.add_argument("--length", type=at_least(2), default=256, metavar="L", help="tokens of a passage (default 256)")
    made.add_argument(
        "--steps", type=at_least(0), default=0, metavar="N", help="gradient steps on the projectors afterwards"
    )
    made.add_argument("--projector", default="linear", metavar="KIND", help="linear (default) or low-rank")
    made.add_argument(
        "--no-bypass",
        action="store_true",
        help="no linear map of base's stream beside the other's update; mixed paths are worse without it",
    )
    made.add_argument("--rank", type=at_least(1), metavar="R", help="with --projector low-rank (default 16)")
    made.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="seed of the gradient steps")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; must not exist")


def run(given: argparse.Namespace) -> None:
    """`manticore align`."""
    from manticore.config.align import AlignOptions
    from manticore.pipelines.align import run as align

    options = AlignOptions(
        models=given.models,
        text=given.text,
        base=given.base,
        stages=given.stages,
        tokens=given.tokens,
        length=given.length,
        steps=given.steps,
        projector=given.projector,
        projector_options=_projector_options(given),
        seed=given.seed,
    )
    align(options, given.out, make_console())


def _projector_options(given: argparse.Namespace) -> dict[str, Any]:
    rank = {} if given.rank is None else {"rank": given.rank}
    return rank if given.no_bypass else {**rank, "bypass": True}
