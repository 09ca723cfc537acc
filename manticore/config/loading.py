"""From YAML, flags and overrides to a recipe: layers put over one another, keys and types checked.

A recipe file may hold `presets:`, a mapping from preset name to what differs there. Later wins: dataclass defaults, the
file, its preset, the command's flags, `--set`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from manticore.components.context_length import context_length
from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.catalog import task_info
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.task import task_infos
from manticore.utils import assets

T = TypeVar("T")


def read_yaml(file: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises BadFile."""
    try:
        held = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise BadFile(file, "cannot be read as a recipe") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadFile(file, "not YAML", None if mark is None else mark.line + 1) from None
    if not isinstance(held, dict):
        raise BadFile(file, "a recipe is a mapping with keys such as task, space, search, finetune")
    return held


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`low` with everything `high` says put over it, mapping by mapping."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def from_dotted(assignments: Sequence[str]) -> dict[str, Any]:
    """`["search.steps=10"]` as nested mappings; values are read as YAML. Raises ManticoreError."""
    out: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ManticoreError(f"--set takes key=value, such as search.steps=100, not '{assignment}'")
        try:
            held: Any = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ManticoreError(f"--set {key}: '{value}' is not a value") from None
        for part in reversed(key.split(".")):
            held = {part: held}
        out = merge(out, held)
    return out


def resolve(layers: Sequence[Mapping[str, Any]], preset: str) -> Recipe:
    """The recipe that a file's mapping, flags and overrides come to, later layers over earlier ones.

    Raises:
        UnknownName: a key that does not exist, with the nearest.
        ManticoreError: a value of the wrong type or out of range.
    """
    held: dict[str, Any] = {}
    for layer in layers:
        layer = dict(layer)
        presets = layer.pop("presets", None) or {}
        if not isinstance(presets, Mapping) or not all(isinstance(held, Mapping) for held in presets.values()):
            raise ManticoreError("recipe key 'presets' maps names of presets to what differs there")
        if presets and preset not in presets:
            raise UnknownName("preset of this recipe", preset, presets)
        held = merge(merge(held, layer), presets.get(preset, {}))
    return instantiate(held, Recipe)


def instantiate(held: Mapping[str, Any], kind: type[T]) -> T:
    """A dataclass of recipes from nested mappings. Raises as `resolve` does."""
    _check_keys(held, kind, "")
    parser = ArgumentParser(exit_on_error=False, parser_mode="yaml")
    parser.add_argument("--recipe", type=kind)
    try:
        parsed = parser.parse_object({"recipe": dict(held)})
        recipe: T = parser.instantiate_classes(parsed).recipe
    except ManticoreError:
        raise
    except Exception as error:  # jsonargparse raises its own, and TypeError and ValueError from the dataclasses
        if isinstance(error.__cause__, ManticoreError):
            raise error.__cause__ from None
        raise ManticoreError(f"recipe: {_short(str(error))}") from None
    return recipe


def _check_keys(held: Mapping[str, Any], kind: Any, where: str) -> None:
    """Raises UnknownName for the first key that the dataclass `kind` does not have."""
    hints = get_type_hints(kind)
    for key, value in held.items():
        if key not in hints:
            raise UnknownName("recipe key", f"{where}{key}", [f"{where}{f.name}" for f in fields(kind)])
        nested = is_dataclass(hints[key])
        if (nested or hints[key] == dict[str, Any]) and not isinstance(value, Mapping):
            raise ManticoreError(f"recipe key '{where}{key}' holds keys of its own, not {value!r}")
        if nested:
            _check_keys(value, hints[key], f"{where}{key}.")


def _short(message: str) -> str:
    """The telling part of a multi-line parser message."""
    lines = [line.strip(" -").replace('Parser key "recipe.', '"') for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:300]


FAMILIES = {"pixels": "lra", "bytes": "lra", **dict.fromkeys(("wikitext", "ptb", "alpaca", "eli5"), "text")}
"""Families of tasks that have their recipe in common with another."""


def recipe_for(config: str | Path | None, flags: dict[str, Any]) -> Recipe:
    """The recipe that a named, given or default file and some flags come to."""
    task = _mapping(flags)
    if config is None:
        config = recipe_of(str(task.get("name", "lra-listops")))
    file = assets.find("configs", config) if config is not None else None
    held = read_yaml(file) if file is not None else {}
    preset = task.get("preset") or _mapping(held).get("preset") or "auto"
    chosen, reason = choose_preset(preset)
    recipe = resolve([held, flags], chosen)
    # What was found out is written down, so that the recipe does the same on another machine.
    run = recipe.run if preset != "auto" else dataclasses.replace(recipe.run, preset_reason=reason)
    reach = map(context_length, recipe.search_space().components)
    return dataclasses.replace(
        recipe, task=fit_to_context(dataclasses.replace(recipe.task, preset=chosen), reach), run=run
    )


def recipe_of(task: str) -> str | None:
    """The shelf's recipe for a task: of its own name, or of its family, which is told before the first dash."""
    base = task.partition("@")[0]
    family = base.partition("-")[0]
    wanted = (f"search/{name}" for name in (base, FAMILIES.get(family, family)))
    return next((name for name in wanted if name in assets.names("configs")), None)


def _mapping(held: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says about the task, if it is sound; `resolve` says so where it is not."""
    task = held.get("task")
    return task if isinstance(task, dict) else {}


def fit_to_context(options: TaskOptions, reaches: Iterable[int | None]) -> TaskOptions:
    """The options, with shorter chunks where some model has fewer positions than the preset's chunks have tokens.

    Args:
        options: of any task; only text is cut into chunks, and what the user set stays as it is.
        reaches: positions that models have, None for no limit.

    Raises as `sheet_of` does.
    """
    if (
        options.bare_name not in task_infos or "length" in options.settings
    ):  # tasks of text have a sheet before they have data
        return options
    sheet = task_info(options)
    if sheet.kind != "lm":
        return options
    least = min((limit for limit in reaches if limit is not None), default=sheet.max_length)
    if least >= sheet.max_length:
        return options
    return replace(options, name=f"{options.name}{',' if options.settings else '@'}length={least}")
