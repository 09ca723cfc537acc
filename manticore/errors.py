"""The errors that users see.

Every message is one line: the value, the allowed values, the nearest name. The command line prints it and exits with
the status of the error; Python users catch `ManticoreError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

SHOWN = 80
"""Largest number of characters of a value in a message."""


class ManticoreError(Exception):
    """A value, a name or a file from the user cannot be used. The message is a single line.

    Attributes:
        exit_status: exit status of a command that ends with this error: 2, or 1 if the machine is the cause.
    """

    def __init__(self, message: str, exit_status: int = 2) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))
        self.exit_status = exit_status


def shown(value: object) -> str:
    """A value for a message: its text if that is short and a single line, else its type or the start of the text."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with more digits than Python writes, or endless nesting
        digits = f"a whole number of about {value.bit_length() * 0.30103:,.0f} digits" if isinstance(value, int) else ""
        return digits or f"an object of type {type(value).__name__}"
    if len(text) <= SHOWN and "\n" not in text:
        return text
    if isinstance(value, str | bytes | list | tuple | dict | set):
        return f"{' '.join(text.split())[: SHOWN - 3]}..."
    return f"an object of type {type(value).__name__}"


class UnknownName(ManticoreError):
    """A name that is not known. The message has the nearest name and the list."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(map(str, known))
        text = name if isinstance(name, str) and len(name) <= SHOWN else shown(name).strip("'")
        nearest = get_close_matches(text, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        super().__init__(f"unknown {kind} '{text}'.{hint} Known: {', '.join(names) or 'none'}.")


class BadFile(ManticoreError):
    """A file without the expected content. The message has its path, the line, and what was expected."""

    def __init__(self, path: Path | str, expected: str, line: int | None = None) -> None:
        location = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{location}: {expected}")


class CannotWrite(ManticoreError):
    """A file cannot be written: a full disk, a quota, a limit, no permission. The message has path and reason."""

    def __init__(self, path: Path | str, reason: str, exit_status: int = 1) -> None:
        super().__init__(f"{path} cannot be written: {reason}", exit_status)
        self.path = Path(path)
        self.reason = reason


class UnfinishedRun(ManticoreError):
    """A run folder whose search is not complete. The message has the command that continues it."""

    def __init__(self, folder: Path | str) -> None:
        command = f"manticore search --out {folder} --resume"
        super().__init__(f"the run in {folder} is not finished; continue it: {command}")


class LostProcess(ManticoreError):
    """Another process of this run has ended, or cannot be reached; the last saved states are on disk."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"a process of this run has ended: {reason}; saved states are kept, --resume continues", 1)
        self.reason = reason


class NonFiniteLoss(ManticoreError):
    """A loss or gradient is not a finite number; the last saved state is on disk."""
