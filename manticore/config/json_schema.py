"""JSON schemas of the YAML files that users write, made from the dataclasses that read them, for editors.

The schemas are in draft 7 of JSON Schema, which editors support. What `manticore validate` accepts, they accept. What
draft 7 cannot state is checked by `manticore validate` alone: rules across keys (`search.warmup_steps` below
`search.steps`, names of components in `base`, `stage_candidates` and `cuts`, numbers of stages, limits that contradict
each other), `4.0` in place of `4`, and NaN.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from manticore.adapters.catalog import adapters
from manticore.adapters.options import AdapterOptions
from manticore.components.families import families
from manticore.components.spec import SKIP, BlockSize, ComponentSpec
from manticore.config.pretrain import PretrainRecipe
from manticore.config.recipe import Recipe
from manticore.config.sections import SelectionOptions, StudyOptions
from manticore.modeling.projectors import PROJECTORS
from manticore.nas.op import Op
from manticore.nas.projector_checks import plain_hints
from manticore.nas.regularizers import regularizers
from manticore.nas.relaxations import relaxations
from manticore.nas.resources import BITS, DTYPE_BYTES, KINDS, LARGEST_COMPONENT, UNITS
from manticore.nas.selection import selectors
from manticore.nas.space import MOST_DIGITS, SearchSpace
from manticore.nas.strategies import PathStrategy, strategies
from manticore.nas.topologies import topologies
from manticore.tasks.options import TaskOptions
from manticore.training.options import SearchOptions
from manticore.utils.fields import (
    LARGEST,
    Range,
    alternatives,
    bare_type,
    field_defaults,
    field_helps,
    field_types,
    note_of,
)

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
NAME = "^[A-Za-z0-9_-]+$"
SETTING = r"\s*[^=,\s][^=,]*=[^,]*[^,\s][^,]*"
TASK_NAME = rf"^[^@]*(@({SETTING})?(,({SETTING})?)*)?$"

_TYPES: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST},
    float: {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max},
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1},
    dict: {"type": "object"},
}


def recipe_schema() -> Schema:
    """The schema of recipes of `search`, `compare`, `transfer` and `bench table`, with presets."""
    definitions: dict[str, Schema] = {}
    sections = _object(Recipe, definitions)
    preset = {**sections, "description": "Keys that differ in this preset."}
    with_components = {"required": ["space"], "properties": {"space": {"required": ["components"]}}}
    presets = {
        "description": "Names of presets, such as cpu and paper, each with the keys that differ there.",
        "anyOf": [{"type": "object", "additionalProperties": {"$ref": "#/definitions/Preset"}}, {"type": "null"}],
    }
    definitions["Preset"] = preset
    in_each_preset = {
        "required": ["presets"],
        "properties": {"presets": {"type": "object", "minProperties": 1, "additionalProperties": with_components}},
    }
    return {
        **_head("recipe", "A manticore recipe: manticore search --config FILE"),
        **sections,
        "properties": {**sections["properties"], "presets": presets},
        "anyOf": [with_components, in_each_preset],
        "if": {"required": ["presets"]},
        "else": {"allOf": [*_recipe_rules(), {"properties": {"space": {"allOf": _space_rules()}}}]},
        "definitions": definitions,
    }


def space_schema() -> Schema:
    """The schema of search spaces."""
    definitions: dict[str, Schema] = {}
    title = "A manticore search space: manticore search --space FILE --task TASK"
    space = _object(SearchSpace, definitions)
    return {
        **_head("space", title),
        **space,
        "required": ["components"],
        "allOf": _space_rules(),
        "definitions": definitions,
    }


def pretrain_schema() -> Schema:
    """The schema of recipes of `manticore pretrain`."""
    definitions: dict[str, Schema] = {}
    title = "A manticore pretraining recipe: manticore pretrain --config FILE --text TEXT --out FOLDER"
    recipe = _object(PretrainRecipe, definitions)
    return {**_head("pretrain", title), **recipe, "required": ["family"], "definitions": definitions}


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "recipe": recipe_schema,
    "space": space_schema,
    "pretrain": pretrain_schema,
}
"""The schemas by kind of file."""


def _head(kind: str, title: str) -> Schema:
    return {"$schema": DRAFT, "$id": f"{kind}.schema.json", "title": title}


def _object(kind: type, definitions: dict[str, Schema]) -> Schema:
    """The schema of a dataclass as a mapping. Classes inside it are added to `definitions`, by name."""
    helps, defaults, properties = field_helps(kind), field_defaults(kind), {}
    special = _special(kind)
    for key, hint in field_types(kind).items():
        if (kind, key) in _LEFT_OUT:
            continue
        schema = special.get(key) or _value(hint, definitions)
        if "$ref" in schema:  # draft 7 ignores what stands beside a reference
            schema = {"allOf": [schema]}
        default = _plain(defaults.get(key))
        shown = (
            {} if key not in defaults or is_dataclass(defaults[key]) or default in ({}, []) else {"default": default}
        )
        properties[key] = {"description": helps[key], **schema, **shown}
    return {"type": "object", "additionalProperties": False, "properties": properties}


_LEFT_OUT = {(ComponentSpec, "model"), (ComponentSpec, "tokenizer")}
"""Fields that only Python has."""


def _value(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of the values that an annotation allows."""
    arms = [_arm(arm, definitions) for arm in alternatives(hint)]
    if NoneType in get_args(hint):
        arms.append({"type": "null"})
    return arms[0] if len(arms) == 1 else {"anyOf": arms}


def _arm(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of one type, with its bounds."""
    bare, bounds = bare_type(hint), note_of(hint, Range)
    origin = get_origin(bare)
    if is_dataclass(bare) and isinstance(bare, type):
        if bare.__name__ not in definitions:
            definitions[bare.__name__] = {}  # stands for it while its own fields are read
            definitions[bare.__name__] = {"description": _first_line(bare), **_object(bare, definitions)}
        return {"$ref": f"#/definitions/{bare.__name__}"}
    if origin is Literal:
        return {"enum": list(get_args(bare))}
    if origin is tuple:
        return {"type": "array", "items": _value(get_args(bare)[0], definitions)}
    return {**_TYPES.get(origin or bare, {}), **_bounds(bare, bounds)}


def _bounds(bare: Any, bounds: Range | None) -> Schema:
    if bounds is None:
        return {}
    limits = {
        "minimum": bounds.least,
        "maximum": bounds.most,
        "exclusiveMinimum": bounds.above,
        "exclusiveMaximum": bounds.below,
    }
    return {key: bare(limit) for key, limit in limits.items() if math.isfinite(limit)}


def _special(kind: type) -> dict[str, Schema]:
    """Schemas of fields whose values are restricted by more than their annotation."""
    text: Schema = {"type": "string"}
    if kind is TaskOptions:
        paths = {"type": "array", "items": text, "minItems": 1}
        return {"name": {**text, "pattern": TASK_NAME}, "data_dir": {"anyOf": [text, paths, {"type": "null"}]}}
    if kind is SearchOptions:
        return {
            "strategy": _names(strategies),
            "relaxation": _names(name for name in relaxations if name != "fixed"),
            "regularizer": _names(regularizers),
        }
    if kind is SelectionOptions:
        limits = {"type": "array", "items": {**text, "pattern": _limits()}}
        bits = {"type": "array", "items": {"type": "integer", "enum": [*BITS]}, "uniqueItems": True}
        return {"selector": _names(["auto", *selectors]), "max": limits, "min": limits, "bits": bits}
    if kind is AdapterOptions:
        return {"name": {"enum": [*sorted(adapters), None]}}
    if kind is StudyOptions:
        return {key: {**_value(field_types(kind)[key], {}), "minItems": 1} for key in ("learning_rates", "budgets")}
    if kind is PretrainRecipe:
        return {"family": _names(families)}
    if kind is SearchSpace:
        return _space_fields()
    if kind is ComponentSpec:
        sizes = _object(BlockSize, {})["properties"]
        return {
            "source": {**text, "minLength": 1},
            "name": {**text, "pattern": "^[A-Za-z0-9_-]*$", "not": {"const": SKIP}},
            "size": {"type": "object", "additionalProperties": False, "properties": sizes},
        }
    if kind is Op:
        return {"name": {**text, "pattern": NAME, "not": {"const": SKIP}}, "factory": text}
    return {}


def _names(names: Iterable[str]) -> Schema:
    return {"enum": sorted(names)}


def _space_fields() -> dict[str, Schema]:
    component = {**_object(ComponentSpec, {}), "required": ["source"]}
    op = {**_object(Op, {}), "required": ["name", "factory"]}
    text, number = {"type": "string", "minLength": 1}, {"type": "integer"}
    by_stage = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}
    mapping = {"type": ["object", "null"]}
    return {
        "components": {"type": "array", "minItems": 1, "items": {"anyOf": [text, component]}},
        "topology": _names(topologies),
        "projector": _names(PROJECTORS),
        "projector_options": {**mapping, "properties": {"bypass": {"type": "boolean"}}},
        "ops": {"type": "array", "items": op},
        "stage_candidates": {
            **mapping,
            "additionalProperties": False,
            "patternProperties": {f"^[0-9]{{1,{MOST_DIGITS - 1}}}$": by_stage},
        },
        "shared_stages": {"type": "array", "items": {"type": "array", "minItems": 2, "items": number}},
        "cuts": {**mapping, "additionalProperties": {"type": "array", "items": number}},
    }


def _space_rules() -> list[Schema]:
    """Rules across the keys of a search space: options by projector and by topology, and the number of candidates."""
    at_least_two = {
        "anyOf": [
            {"properties": {"components": {"minItems": 2}}},
            {"required": ["ops"], "properties": {"ops": {"minItems": 1}}},
        ]
    }
    options = [
        _when("projector", name, SearchSpace.projector, {"projector_options": _projector_options(PROJECTORS[name])})
        for name in PROJECTORS
    ]
    excluded: Mapping[str, Schema] = {
        "skip": {"skip": {"const": False}},
        "ops": {"ops": {"maxItems": 0}},
        "bypass": {"projector_options": {"properties": {"bypass": {"const": False}}}},
    }
    joined = []
    for name in topologies:
        properties: dict[str, Schema] = {} if topologies[name].has_base else {"base": {"type": "null"}}
        for option in excluded.keys() - topologies[name].supports:
            properties |= excluded[option]
        if properties:
            joined.append(_when("topology", name, SearchSpace.topology, dict(sorted(properties.items()))))
    return [at_least_two, *options, *joined]


def _projector_options(projector: type) -> Schema:
    """The options of a kind of projector: keyword arguments of its class after the two widths."""
    names = [*signature(projector).parameters][2:]
    hints = plain_hints(projector)
    properties = {name: _value(hints[name], {}) if name in hints else {} for name in names}
    return {"properties": {**properties, "bypass": {}}, "additionalProperties": False}


def _recipe_rules() -> list[Schema]:
    """Rules across the keys of a recipe: options by strategy and by adapter, the selector of path strategies."""
    without = sorted(name for name in strategies if not is_dataclass(strategies[name]))
    rules = [_strategy_rule(without, {"maxProperties": 0})]
    for name in strategies:
        if name not in without:
            rules.append(_strategy_rule([name], _options_of(strategies[name])))
    by_paths = sorted(name for name in strategies if issubclass(strategies[name], PathStrategy))
    named = {"properties": {"strategy": {"enum": by_paths}}, "required": ["strategy"]}
    rules.append(
        {
            "if": {"properties": {"search": named}, "required": ["search"]},
            "then": {"properties": {"selection": {"properties": {"selector": {"const": "auto"}}}}},
        }
    )
    return [*rules, *({"properties": {"adapter": rule}} for rule in _adapter_rules())]


def _adapter_rules() -> list[Schema]:
    """Rules across the keys of the section `adapter`: options by adapter, and none without one."""
    without = {"options": {"maxProperties": 0}, "targets": {"maxItems": 0}}
    rules: list[Schema] = [{"if": {"properties": {"name": {"const": None}}}, "then": {"properties": without}}]
    for name in adapters:
        options = {"properties": {"options": _options_of(adapters[name].Options)}}
        rules.append({"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": options})
    return rules


def _limits() -> str:
    """The pattern of limits such as `cache_bytes=64MiB@8192x4:bfloat16`."""
    number = r"(?=[0-9_.]*[1-9])[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9]+)?"
    dtypes = "|".join(DTYPE_BYTES)
    axes = {"length": "(0*[1-9][0-9]*)?", "batch": "(x0*[1-9][0-9]*)?", "dtype": f"(:({dtypes}))?"}
    patterns = []
    for name, kind in KINDS.items():
        units = "|".join("".join(f"[{x.upper()}{x.lower()}]" for x in unit) for unit in UNITS[kind.unit] if unit)
        qualifier = "".join(pattern for axis, pattern in axes.items() if axis in kind.axes)
        qualifier = f"({qualifier}|{dtypes})" if "dtype" in kind.axes else qualifier
        patterns.append(rf"{name}=({LARGEST_COMPONENT}|\s*{number}\s*({units}|%)?\s*)(@{qualifier})?")
    return rf"^\s*({'|'.join(patterns)})\s*$"


def _strategy_rule(names: list[str], options: Schema) -> Schema:
    """That the options of these strategies fit a schema; a recipe without a strategy has the default one."""
    search: Schema = {"properties": {"strategy": {"enum": names}}}
    condition: Schema = {"properties": {"search": search}}
    if SearchOptions.strategy not in names:
        search["required"], condition["required"] = ["strategy"], ["search"]
    return {"if": condition, "then": {"properties": {"search": {"properties": {"strategy_options": options}}}}}


def _options_of(strategy: type) -> Schema:
    properties = {key: _value(hint, {}) for key, hint in field_types(strategy).items()}
    return {"properties": properties, "additionalProperties": False}


def _equals(key: str, value: str, default: str) -> Schema:
    """That a key has a value, or is left out if the value is its default."""
    schema: Schema = {"properties": {key: {"const": value}}}
    return schema if value == default else {**schema, "required": [key]}


def _when(key: str, value: str, default: str, properties: Mapping[str, Schema]) -> Schema:
    return {"if": _equals(key, value, default), "then": {"properties": dict(properties)}}


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value) if isinstance(value, Path) else value


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
