"""The terminal: the console, lines for the user, progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from manticore.utils.streams import allow_any_encoding


class ProgressUpdate(Protocol):
    """Sets the completed part of a progress bar and the note after it."""

    def __call__(self, completed: int, note: str = "") -> object: ...


class PipeConsole(Console):
    """A console that raises BrokenPipeError if the output is a closed pipe; the one of rich ends the process."""

    def on_broken_pipe(self) -> None:
        """Called by rich when the pipe is closed."""
        self.quiet = True
        raise BrokenPipeError


def make_console(quiet: bool = False) -> Console:
    """A console on standard output, 110 columns wide if that is a file or a pipe."""
    allow_any_encoding()
    console = PipeConsole(quiet=quiet)
    return console if console.is_terminal else PipeConsole(quiet=quiet, width=110)


def info(console: Console, text: str) -> None:
    """Print `text` as it is: no markup, no highlighting, no line breaks added."""
    console.out(text, highlight=False)


@contextmanager
def progress_bar(
    title: str, total: int | None, shown: bool = True, console: Console | None = None
) -> Iterator[ProgressUpdate]:
    """Show a progress bar while the context is open; it disappears at the end.

    Args:
        title: the text before the bar.
        total: number of units of work; None: not known.
        shown: False draws nothing. Nothing is drawn either if the console is no terminal.
        console: the console to draw on; default: standard error.

    Yields a function that takes the number of completed units and, optionally, a note.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=total, note="")

        def update(completed: int, note: str = "") -> None:
            progress.update(task, completed=completed, note=note)

        yield update
