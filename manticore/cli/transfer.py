"""`manticore transfer`: flags to recipes, one for each proxy and one for the target, and those to a programmed path."""

from __future__ import annotations

import argparse
from typing import Any

from manticore.cli.compare import add_study_flags, study_of
from manticore.cli.options import add_flags, command, names, recipe_of_flags, tasks_of
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore transfer`."""
    made = command(
        commands,
        "transfer",
        run,
        "search on cheap proxy tasks, carry the path to another task or to other models, tell how well proxies predict",
        "manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops --out runs/programmed\n"
        "  manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops \\\n"
        "    --target-models ./my-gpt-neo,./my-mamba --out runs/carried\n"
        "\nEvery path of the space is trained on proxies and target, so the space may have 64 at most; models need a\n"
        "layer for each stage. Give the same --out again to go on. --set and --config are for all tasks, --data-dir\n"
        "is the target's. manticore show recipe lists every key that --set takes.",
    )
    made.add_argument(
        "--proxy",
        action="append",
        required=True,
        metavar="T",
        help="task to search on, or the first word of several, such as mad; may be repeated",
    )
    made.add_argument("--task", required=True, metavar="T", help="the target: what the path is for (ls tasks)")
    made.add_argument(
        "--target-models", type=names, metavar="A,B", help="the target's models, each for the one at its place"
    )
    made.add_argument("--search-target", action="store_true", help="search the target too, to compare with")
    add_flags(made)
    add_study_flags(made)


def run(given: argparse.Namespace) -> None:
    """`manticore transfer`."""
    from manticore.pipelines import transfer

    generated = argparse.Namespace(**{**vars(given), "data_dir": None})
    proxies = [recipe_of_flags(generated, name, study_of(given)).recipe for name in tasks_of(given.proxy)]
    # Base is told in the proxies' names; the target's is the component at the same place.
    others = {"space": {"components": given.target_models, "base": None}} if given.target_models else {}
    target = recipe_of_flags(given, given.task, {**study_of(given), **others}).recipe
    transfer.run(proxies, target, given.out, given.workers, make_console(), given.search_target)
