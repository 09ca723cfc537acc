"""Where results and progress are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def make_console(quiet: bool = False) -> Console:
    """The terminal, or 110 columns where the output goes to a file or a pipe."""
    found = Console(quiet=quiet)
    return found if found.is_terminal else Console(quiet=quiet, width=110)


@contextmanager
def progress_bar(title: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes how much of `total` is done. Nothing is drawn unless `shown` and on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
