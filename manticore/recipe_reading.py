"""From YAML, flags and overrides to a recipe: layers put over one another, keys and types checked.

A recipe file may hold `presets:`, a mapping from preset name to what differs there. Later wins: dataclass defaults, the
file, its preset, the command's flags, `--set`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.recipe import Recipe

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


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`low` with everything `high` says put over it, mapping by mapping."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
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
        out = merged(out, held)
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
        held = merged(merged(held, layer), presets.get(preset, {}))
    return instantiated(held, Recipe)


def instantiated(held: Mapping[str, Any], kind: type[T]) -> T:
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
