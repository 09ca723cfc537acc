"""Registries: tables of named objects that users can extend.

Objects are registered by modules of this package, by a user's decorator (`@manticore.register.task("mine")`), and by
other packages through entry points of the group `manticore.<kind>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from manticore.errors import ManticoreError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from names to objects of one kind.

    Args:
        kind: singular noun for messages; entry points have the group `manticore.<kind>`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._plugins_read = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an object as `name`. Raises ManticoreError if another object has this name."""

        def add(item: T) -> T:
            registered = self._items.get(name)
            # A notebook cell or a reloaded module may define the same object again; the new definition replaces it.
            if registered is not None and _qualified_name(registered) != _qualified_name(item):
                raise ManticoreError(f"{self.kind} '{name}' is already registered; choose another name.")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        """The object called `name`. Raises UnknownName with the nearest name and the full list."""
        self._read_plugins()
        if name not in self._items:
            raise UnknownName(self.kind, name, self._items)
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        self._read_plugins()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self._read_plugins()
        return iter(sorted(self._items))

    def _read_plugins(self) -> None:
        if self._plugins_read:
            return
        self._plugins_read = True
        add_plugins(self.kind, self._items)


def add_plugins(kind: str, table: dict[str, Any]) -> None:
    """Add the objects of a kind that installed packages provide to a table; existing entries are kept."""
    for point in entry_points(group=f"manticore.{kind}"):
        table.setdefault(point.name, point.load())


def _qualified_name(item: object) -> object:
    return getattr(item, "__qualname__", item)
