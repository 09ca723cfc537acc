"""Reading words: the parser, the kinds of value, and the flags that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from manticore.errors import ManticoreError, UnknownName

if TYPE_CHECKING:
    from manticore.tasks.options import TaskOptions


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        if "argument COMMAND: invalid choice" in message:
            given, known = message.split("'")[1], message.split("choose from ")[1].split(",")
            message = str(UnknownName("command", given, [name.strip(" ')") for name in known]))
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str, example: str) -> Parser:
    """Add one command to `commands`, the subparsers of the command line; returns its parser, which takes the flags."""
    made: Parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    return made


def at_least(least: int) -> Callable[[str], int]:
    """What argparse calls to read a whole number that must not be below `least`."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text}")
        return int(text)

    return read


def above_zero(text: str) -> float:
    """What argparse calls to read a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return number


def names(given: str) -> list[str]:
    """The names between commas."""
    return [name.strip() for name in given.split(",") if name.strip()]


def numbers(given: str) -> list[float]:
    """What argparse calls to read the numbers above zero between commas."""
    return [above_zero(name) for name in names(given)]


def task_flags(made: Parser) -> None:
    """Add the flags that say which task a hybrid meets."""
    made.add_argument("--task", default="lra-listops", metavar="T", help="task (ls tasks; default lra-listops)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), default="auto", help="scale of the task")
    made.add_argument("--data-dir", metavar="DIR", help="the task's official files, or text")


def task_options(given: argparse.Namespace) -> TaskOptions:
    """The task that `task_flags` were given."""
    from manticore.tasks.options import TaskOptions

    return TaskOptions(name=given.task, preset=given.preset, data_dir=given.data_dir)


if TYPE_CHECKING:
    from manticore.config.loading import LoadedRecipe


def add_flags(made: Parser) -> None:
    """Add the flags of the search."""
    made.add_argument("--models", metavar="M,M", help="two or more aliases, hub ids or local folders (ls models)")
    made.add_argument("--config", metavar="R", help="recipe by name or path (ls configs); default: the task's own")
    made.add_argument("--space", metavar="S", help="search space by name or path (ls spaces)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), help="scale; auto: paper where there is a CUDA GPU")
    made.add_argument(
        "--base",
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


def recipe_of_flags(given: argparse.Namespace, task: str | None, more: dict[str, Any]) -> LoadedRecipe:
    """The recipe that the flags come to on one task.

    Args:
        given: the flags of `add_flags`.
        task: name of the task; None: the recipe's.
        more: what the command itself sets, over the recipe and under `--set`.

    Raises ManticoreError if they cannot be.
    """
    from manticore.config.loading import from_dotted, load_recipe, merge
    from manticore.nas.space import SearchSpace
    from manticore.utils import assets

    if given.models and given.space:
        raise ManticoreError("--models and --space both say what the components are; give one of them")
    space: dict[str, Any] = {}
    if given.models:
        space["components"] = names(given.models)
    if given.space:
        space.update(SearchSpace.load(assets.find("spaces", given.space)).to_dict())
    options = {"base": given.base, "topology": given.topology, "projector": given.projector, "stages": given.stages}
    space.update({key: value for key, value in options.items() if value is not None})
    named = {"name": task, "preset": given.preset, "data_dir": given.data_dir}
    flags: dict[str, Any] = {
        "space": space,
        "task": {key: value for key, value in named.items() if value is not None},
        "search": {} if given.strategy is None else {"strategy": given.strategy},
    }
    return load_recipe(given.config, merge(merge(flags, more), from_dotted(given.set)))
