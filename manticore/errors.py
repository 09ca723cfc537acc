"""The one family of errors a user is meant to read. Knows nothing of what went wrong elsewhere in the program.

Every message is one line: what was given, what is allowed, the nearest name. The command line prints it and exits
with status 2; Python users catch `ManticoreError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class ManticoreError(Exception):
    """Something the user gave cannot be used. The message is a single line fit to be shown as it is."""


class UnknownName(ManticoreError):
    """A name that no shelf, table or registry holds."""

    def __init__(self, kind: str, given: object, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = get_close_matches(str(given), names, n=1, cutoff=0.5)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        super().__init__(f"unknown {kind} '{given}'.{hint} Known: {', '.join(names) or 'none'}.")


class BadFile(ManticoreError):
    """A file that cannot be read as what it should be; says where and what was expected."""

    def __init__(self, path: Path | str, expected: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {expected}")


class NonFiniteLoss(ManticoreError):
    """Training met a loss that is not a number; the last good state is on disk."""
