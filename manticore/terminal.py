"""Where results and progress are shown."""

from __future__ import annotations

from rich.console import Console


def console(quiet: bool = False) -> Console:
    """The terminal, or 110 columns where the output goes to a file or a pipe."""
    found = Console(quiet=quiet)
    return found if found.is_terminal else Console(quiet=quiet, width=110)
