"""Reading words: the parser, the kinds of value, and the flags that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from manticore.errors import UnknownName

if TYPE_CHECKING:
    from manticore.tasks.base import TaskOptions


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
    from manticore.tasks.base import TaskOptions

    return TaskOptions(name=given.task, preset=given.preset, data_dir=given.data_dir)
