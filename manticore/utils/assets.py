"""Shipped assets: search spaces, projector sets, recipes and models, found by name.

In a checkout the folders of assets are next to the package; a wheel has them inside the package, in `_assets/`.
"""

from __future__ import annotations

from pathlib import Path

from manticore.errors import ManticoreError, UnknownName, shown

FOLDERS = {"spaces": "search_spaces", "projectors": "projectors", "configs": "configs", "models": "models"}
"""Folder of each kind of asset."""

LABELS = {"spaces": "search space", "projectors": "projector set", "configs": "recipe", "models": "model"}
"""Name of each kind of asset in messages."""

_STORED_AS_FOLDER = ("projectors", "models")
"""Kinds of which an asset is a folder with a config.json; of the others it is a YAML file."""


def data_folder(name: str) -> Path:
    """A folder of shipped data, such as `projectors` or `samples`, in this installation."""
    package = Path(__file__).parents[1]
    installed = package / "_assets" / name
    return installed if installed.is_dir() else package.parent / name


def folder(kind: str) -> Path:
    """The folder of a kind of asset. Raises UnknownName for a kind that is not in `FOLDERS`."""
    if kind not in FOLDERS:
        raise UnknownName("kind of asset", kind, FOLDERS)
    return data_folder(FOLDERS[kind])


def names(kind: str) -> list[str]:
    """Names of all assets of a kind, sorted; a recipe in a sub-folder is called `folder/name`."""
    root = folder(kind)
    if kind in _STORED_AS_FOLDER:
        return sorted(entry.parent.name for entry in root.glob("*/config.json"))
    return sorted(str(entry.relative_to(root).with_suffix("")) for entry in root.rglob("*.yaml"))


def find(kind: str, name: str | Path) -> Path:
    """The file or folder of an asset, by its name or by the path of any file or folder.

    Raises:
        UnknownName: there is no asset of this name; the message has the nearest name and the list.
        ManticoreError: `name` is a path (it has a suffix or a separator) and does not exist, or it is neither.
    """
    if not isinstance(name, str | Path):
        raise ManticoreError(f"a {LABELS[kind]} is a name or a path, not {shown(name)}")
    path = Path(name)
    asset = folder(kind) / (str(name) if kind in _STORED_AS_FOLDER else f"{name}.yaml")
    if asset.exists() and str(name) in names(kind):
        return asset
    if path.exists():
        return path
    if path.suffix in {".yaml", ".yml", ".json"} or path.is_absolute() or str(name).startswith("."):
        raise ManticoreError(f"no such {LABELS[kind]} file: {name}")
    raise UnknownName(LABELS[kind], str(name), names(kind))
