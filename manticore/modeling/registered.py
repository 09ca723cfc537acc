"""Looks up the classes that users register: projectors, heads, topologies and ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def find_registered(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry `name` of the table of a kind of class. Raises ValueError if there is none."""
    if name not in table:
        raise ValueError(
            f"{kind} '{name}' is not registered in this process: register its class first, or load the checkpoint with "
            "trust_remote_code=True where manticore is not imported"
        )
    return table[name]
