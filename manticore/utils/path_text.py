"""A path in one line, short also for many stages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

LISTED_STAGES = 8
"""Largest number of stages that are listed one by one."""


def path_text(path: Sequence[str], bits: Sequence[int] = ()) -> str:
    """The names of a path, `gpt-neo · mamba`; with bits of the stages `gpt-neo (8 bits) · mamba (16 bits)`.

    Of more than eight stages, equal neighbours are one entry with their numbers: `1-2 llama · 3 mamba · 4-9 llama`.
    """
    parts = with_bits(path, bits)
    if len(parts) <= LISTED_STAGES:
        return " · ".join(parts)
    entries, first = [], 1
    for part, equal in groupby(parts):
        last = first + len(list(equal)) - 1
        entries.append(f"{first} {part}" if first == last else f"{first}-{last} {part}")
        first = last + 1
    return " · ".join(entries)


def with_bits(path: Sequence[str], bits: Sequence[int]) -> list[str]:
    """The name of each stage with its bits, if there are any."""
    return [f"{name} ({number} bits)" for name, number in zip(path, bits, strict=True)] if bits else list(path)
