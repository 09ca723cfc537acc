"""Finds things on the shelf (search spaces, projector sets, recipes, models) by name. Knows nothing of their contents.

A wheel carries the folders inside the package as `_shelf/`; in a checkout they stand beside it.
"""

from __future__ import annotations

from pathlib import Path

from manticore.errors import ManticoreError, UnknownName

SHELVES = {"spaces": "search_spaces", "projectors": "projectors", "configs": "configs", "models": "models"}
DATA = (*SHELVES.values(), "samples")
"""Data folders at the top of a checkout; a wheel carries them as `_shelf/`."""
_SINGULAR = {"spaces": "search space", "projectors": "projector set", "configs": "recipe", "models": "model"}
_FOLDERS = ("projectors", "models")
"""Kinds of which a thing is a folder with a config.json."""


def shelf(kind: str) -> Path:
    """The folder that holds things of `kind`, one of `SHELVES`. Raises UnknownName for another kind."""
    if kind not in SHELVES:
        raise UnknownName("shelf", kind, SHELVES)
    return root(SHELVES[kind])


def root(folder: str) -> Path:
    """A data folder, one of `DATA`, wherever this installation has it."""
    package = Path(__file__).parents[1]
    packed = package / "_shelf" / folder
    return packed if packed.is_dir() else package.parent / folder


def names(kind: str) -> list[str]:
    """Names of everything on a shelf; recipes in sub-folders are called `folder/name`."""
    folder = shelf(kind)
    if kind in _FOLDERS:
        return sorted(entry.parent.name for entry in folder.glob("*/config.json"))
    return sorted(str(entry.relative_to(folder).with_suffix("")) for entry in folder.rglob("*.yaml"))


def find(kind: str, name: str | Path) -> Path:
    """The file or folder that `name` means: a name on the shelf, or the path of a file or folder anywhere.

    Raises:
        UnknownName: neither; the message has the nearest name and the list.
        ManticoreError: a path was meant (it has a suffix or a separator) and nothing is there.
    """
    path = Path(name)
    on_shelf = shelf(kind) / (str(name) if kind in _FOLDERS else f"{name}.yaml")
    if on_shelf.exists() and str(name) in names(kind):
        return on_shelf
    if path.exists():
        return path
    if path.suffix in {".yaml", ".yml", ".json"} or path.is_absolute() or str(name).startswith("."):
        raise ManticoreError(f"no such {_SINGULAR[kind]} file: {name}")
    raise UnknownName(_SINGULAR[kind], str(name), names(kind))
