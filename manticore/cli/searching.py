"""The flags that say what is searched and on what, shared by the commands that search; and the recipe they come to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from manticore.cli.parsing import Parser, names
from manticore.errors import ManticoreError

if TYPE_CHECKING:
    from manticore.recipe import Recipe


def add_flags(made: Parser) -> None:
    """Add the flags of the search."""
    made.add_argument("--models", metavar="M,M", help="two or more aliases, hub ids or local folders (ls models)")
    made.add_argument("--config", metavar="R", help="recipe by name or path (ls configs); default: the task's own")
    made.add_argument("--space", metavar="S", help="search space by name or path (ls spaces)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), help="scale; auto: paper where there is a CUDA GPU")
    made.add_argument(
        "--home",
        metavar="M",
        help="component that lends embedding, stream and head; default: best alone, or as the recipe says",
    )
    made.add_argument("--strategy", metavar="X", help="darts, simultaneous or zero-shot; default: the recipe's")
    made.add_argument("--topology", metavar="X", help="how stages are joined: residual (default) or hub (the paper's)")
    made.add_argument("--projector", metavar="X", help="linear (default), low-rank, two-layer, identity")
    made.add_argument("--stages", type=int, metavar="N", help="number of stages")
    made.add_argument(
        "--data-dir", metavar="DIR", help="the task's official files, or text; default: generate, or what comes along"
    )
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any recipe key; may be repeated")


def tasks_of(given: Sequence[str]) -> list[str]:
    """Names of tasks, where the first word of several, such as `mad`, stands for all of them."""
    from manticore.tasks.catalog import tasks

    out: list[str] = []
    for name in given:
        family = [held for held in tasks if held.startswith(f"{name}-")]
        out += family if family and name not in tasks else [name]
    return out


def recipe_of_flags(given: argparse.Namespace, task: str | None, more: dict[str, Any]) -> Recipe:
    """The recipe that the flags come to on one task.

    Args:
        given: the flags of `add_flags`.
        task: name of the task; None: the recipe's.
        more: what the command itself sets, over the recipe and under `--set`.

    Raises ManticoreError if they cannot be.
    """
    from manticore import library
    from manticore.api import recipe_for
    from manticore.recipe_reading import from_dotted, merged
    from manticore.space import SearchSpace

    if given.models and given.space:
        raise ManticoreError("--models and --space both say what the components are; give one of them")
    space: dict[str, Any] = {}
    if given.models:
        space["components"] = names(given.models)
    if given.space:
        space.update(SearchSpace.load(library.find("spaces", given.space)).to_dict())
    options = {"home": given.home, "topology": given.topology, "projector": given.projector, "stages": given.stages}
    space.update({key: value for key, value in options.items() if value is not None})
    named = {"name": task, "preset": given.preset, "data_dir": given.data_dir}
    flags: dict[str, Any] = {
        "space": space,
        "task": {key: value for key, value in named.items() if value is not None},
        "search": {} if given.strategy is None else {"strategy": given.strategy},
    }
    return recipe_for(given.config, merged(merged(flags, more), from_dotted(given.set)))
