"""What one benchmark is: two or more ways to do the same, and what is promised of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manticore.bench.timing import Thunk

Size = Mapping[str, int]
Setup = Callable[[Size], Thunk]
"""Sets one side up at a size; the thunk that comes back is what is timed, forward and backward."""


@dataclass(frozen=True)
class Promise:
    """At least `time` times faster than the side it is about, with at most `memory` of its memory."""

    time: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: short, for the table and the command line.
        about: one line.
        sides: by name; the first is ours.
        full, quick: its size for figures worth reporting, and for a look or a test.
        promises: by side.
        needs: side -> package it cannot run without.
    """

    name: str
    about: str
    sides: Mapping[str, Setup]
    full: Size
    quick: Size
    promises: Mapping[str, Promise] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)

    def size(self, quick: bool) -> Size:
        """The size asked for."""
        return self.quick if quick else self.full
