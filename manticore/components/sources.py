"""Checks that models and folders named by a user exist. They are fast: neither torch nor transformers is imported.

A name with a slash may be a hub id. It is taken for a folder if it starts with `.`, `/`, `~` or `runs/`.
"""

from __future__ import annotations

from pathlib import Path

from manticore.components.catalog import CATALOG
from manticore.errors import ManticoreError, UnknownName, shown
from manticore.utils import assets

LONGEST_PATH = 256
"""Largest number of characters of a path in a message; a longer one is probably a text, and is shortened."""

_PATH_STARTS = (".", "/", "~", "runs/")


def check_component(source: str) -> None:
    """Check that a component may exist: an alias, a shipped model, a folder, or a hub id, which is not looked up.

    Raises:
        UnknownName: there is no model of this name.
        ManticoreError: it names a folder that does not exist.
    """
    if source in CATALOG or source in assets.names("models") or _is_folder(source):
        return
    if any(character.isspace() for character in source) and not source.startswith(_PATH_STARTS):
        raise ManticoreError(f"{shown(source)} is a text, and not the name or the folder of a model")
    if "/" not in source and not source.startswith(_PATH_STARTS):
        raise UnknownName("model", source, [*CATALOG, *assets.names("models")])
    if source.startswith(_PATH_STARTS):
        raise ManticoreError(f"no such model folder: {source}")


def check_model(source: Path | str) -> None:
    """Check that a trained model or a component may exist. Raises as `check_component` does."""
    name = str(source)
    if name.startswith(_PATH_STARTS) and not _is_folder(name):
        raise ManticoreError(
            f"no such folder: {name}; name a run folder, an exported folder or a model (manticore ls models)"
        )
    check_component(name)


def check_folder(path: Path, usage: str) -> None:
    """Check that a folder exists. `usage` describes what the command takes. Raises ManticoreError."""
    if not _is_folder(path):
        raise ManticoreError(f"no such folder: {path}; {usage}")


def check_text(path: Path) -> None:
    """Check that a file or folder of text exists. Raises ManticoreError."""
    try:
        exists = path.expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # as of `_is_folder`
        exists = False
    if not exists:
        name = str(path)
        raise ManticoreError(f"no such file or folder of text: {name if len(name) < LONGEST_PATH else shown(name)}")


def _is_folder(path: Path | str) -> bool:
    """Whether a folder exists. A text, which may be longer than a path can be, or contain zeros, is none."""
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False
