"""Whether the models and folders that a user names exist. Answers at once: no torch and no transformers are imported.

A name with a slash may be a hub id. It is taken for a folder if it starts with `.`, `/`, `~` or `runs/`.
"""

from __future__ import annotations

from pathlib import Path

from manticore.components.catalog import CATALOG
from manticore.errors import ManticoreError, UnknownName
from manticore.utils import assets

_PATH_STARTS = (".", "/", "~", "runs/")


def check_component(source: str) -> None:
    """Check that a component may exist: an alias, a shipped model, a folder, or a hub id, which is not looked up.

    Raises:
        UnknownName: there is no model of this name.
        ManticoreError: it names a folder that does not exist.
    """
    if source in CATALOG or source in assets.names("models") or Path(source).expanduser().is_dir():
        return
    if "/" not in source and not source.startswith(_PATH_STARTS):
        raise UnknownName("model", source, [*CATALOG, *assets.names("models")])
    if source.startswith(_PATH_STARTS):
        raise ManticoreError(f"no such model folder: {source}")


def check_model(source: Path | str) -> None:
    """Check that a trained model or a component may exist. Raises as `check_component` does."""
    name = str(source)
    if name.startswith(_PATH_STARTS) and not Path(name).expanduser().is_dir():
        raise ManticoreError(
            f"no such folder: {name}; name a run folder, an exported folder or a model (manticore ls models)"
        )
    check_component(name)


def check_folder(path: Path, usage: str) -> None:
    """Check that a folder exists. `usage` says what the command takes. Raises ManticoreError."""
    if not path.expanduser().is_dir():
        raise ManticoreError(f"no such folder: {path}; {usage}")


def check_text(path: Path) -> None:
    """Check that a file or folder of text exists. Raises ManticoreError."""
    if not path.expanduser().exists():
        raise ManticoreError(f"no such file or folder of text: {path}")
