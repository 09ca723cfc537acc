"""`manticore compare`: flags to recipes, one for each task, and those to a study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import Parser, add_flags, at_least, command, names, numbers, recipe_of_flags, tasks_of
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore compare`."""
    made = command(
        commands,
        "compare",
        run,
        "compare the hybrid with its rivals over seeds: same tokens, same operations, each its own learning rate",
        "manticore compare --models gpt-neo,mamba --task lra-listops --seeds 5 --out runs/fair\n"
        "  manticore compare --models gpt-neo,mamba --task mad --workers 2 --out runs/mad\n"
        "\nGive the same --out again to go on, with more --seeds or another --task to add to it, and from several\n"
        "shells or machines at once to share the work. manticore show recipe lists every key that --set takes.",
    )
    made.add_argument(
        "--task",
        action="append",
        metavar="T",
        help="task (ls tasks), or the first word of several, such as mad; may be repeated; default: the recipe's",
    )
    add_flags(made)
    add_study_flags(made)
    made.add_argument(
        "--baselines",
        type=names,
        metavar="C,C",
        help="of components,designed,uniform,soft,random,hub; default: all but soft",
    )
    made.add_argument("--budgets", type=names, metavar="B,B", help="of tokens,flops; default: a table for each")
    made.add_argument(
        "--all-paths",
        nargs="?",
        const=0,
        type=at_least(1),
        metavar="N",
        help="train every path of the space too, for the search's regret; with the first N seeds, or with all",
    )


def add_study_flags(made: Parser) -> None:
    """Add the flags of everything that runs trials."""
    made.add_argument("--seeds", type=at_least(1), metavar="N", help="number of seeds; default: the recipe's, or 3")
    made.add_argument("--learning-rates", type=numbers, metavar="X,X", help="grid each arm chooses from")
    made.add_argument("--workers", type=at_least(1), default=1, metavar="N", help="processes at once (default 1)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of trials, tables and report")


def study_of(given: argparse.Namespace) -> dict[str, Any]:
    """What the flags say about the study, for the recipe."""
    options = {key: getattr(given, key, None) for key in ("seeds", "learning_rates", "baselines", "budgets")}
    if (paths := getattr(given, "all_paths", None)) is not None:
        options |= {"paths": True, "path_seeds": paths}
    return {"study": {key: value for key, value in options.items() if value is not None}}


def run(given: argparse.Namespace) -> None:
    """`manticore compare`."""
    from manticore.pipelines import compare

    wanted = tasks_of(given.task) if given.task else [None]
    recipes = [recipe_of_flags(given, name, study_of(given)).recipe for name in wanted]
    compare.run(recipes, given.out, given.workers, make_console())
