"""From arguments of Python to the options of commands: spaces, tasks and models as objects, sections of a recipe."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from rich.console import Console

from manticore.components.spec import ComponentSpec
from manticore.config.flags import Flags, argument_name, assignments, nested
from manticore.config.loading import merge
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError, UnknownName, shown
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.nas.space import SearchSpace
from manticore.tasks.options import plain_paths
from manticore.utils import assets
from manticore.utils.console import info
from manticore.utils.failures import writing
from manticore.utils.fields import convert, field_types, from_mapping

T = TypeVar("T")

Models = Sequence[Any]
"""Components: names, folders, mappings, `ComponentSpec`s or model objects."""


def section_keys(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a recipe as mappings, from mappings or options objects.

    Raises ManticoreError for a key that belongs into a section, and UnknownName for a section that does not exist.
    """
    known = {name: hint for name, hint in field_types(Recipe).items() if name != "space"}
    for name in sections:
        owners = [section for section, hint in known.items() if name in field_types(hint)]
        if name not in known and owners:
            rest = '"name": ..., ' if owners == ["task"] else ""
            examples = " or ".join(f'{section}={{{rest}"{name}": ...}}' for section in owners)
            raise ManticoreError(f"'{name}' is a key of {' and '.join(owners)}: write {examples}")
        if name not in known and name in field_types(SearchSpace):
            raise ManticoreError(f"'{name}' is a key of the search space: write mc.SearchSpace([...], {name}=...)")
        if name not in known:
            raise UnknownName("argument", name, known)
    plain = {
        key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for key, value in sections.items()
    }
    align = plain.get("align")
    if isinstance(align, Mapping) and not isinstance(align.get("projectors"), str | None):
        plain["align"] = {**align, "projectors": str(source_folder(align["projectors"]))}
    return plain


@contextmanager
def recipe_command(
    kind: type[T], flags: Flags, arguments: Mapping[str, Any], console: Console | None = None, **more: Any
) -> Iterator[T]:
    """The options of a command that runs recipes. Model objects are saved in `OUT.components/NAME` while it runs.

    They are removed if the block fails before there is a folder `out`. A `SearchSpace` is not changed: its projectors
    have a bypass only if its options, the recipe or a section set it.

    Args:
        kind: dataclass of the options.
        flags: table of the command.
        arguments: of the call, with `space`, `models`, `sections`, and `task` as options of the task.
        console: where saved model objects are announced.
        more: fields that replace those of the table.

    Raises ManticoreError if the arguments contradict each other, or name something that does not exist.
    """
    space, models, out = arguments["space"], arguments["models"], arguments["out"]
    if space is not None and models is not None:
        raise ManticoreError("space and models both name the components; give one of them")
    if not isinstance(space, SearchSpace | str | Path | None):
        raise ManticoreError(f"space is a SearchSpace, or the name or path of one, not {shown(space)}")
    if models is not None and (isinstance(models, str) or not isinstance(models, Sequence)):
        raise ManticoreError(f"models is a list of components, such as ['gpt-neo', 'mamba'], not {shown(models)}")
    if models is not None and not models:
        raise ManticoreError("models is an empty list; name components, such as ['gpt-neo', 'mamba'], or leave it out")
    plain = {**arguments, "space": None, "models": None, "task": None, "set": assignments(arguments["set"])}
    if plain["data_dir"] is not None:
        plain["data_dir"] = plain_paths(plain["data_dir"])
    values = nested(flags, {key: plain[argument_name(flag)] for flag, key in flags.items()})
    keys = merge(merge({"task": arguments["task"]}, values.pop("keys", {})), section_keys(arguments["sections"]))
    defaults = {"align": {"bypass": False}} if isinstance(space, SearchSpace) else {}
    if space is not None and not isinstance(space, SearchSpace):
        space = SearchSpace.load(assets.find("spaces", space))
    specs = tuple(map(ComponentSpec.of, models or ())) if space is None else space.components
    with _plain_models(specs, None if out is None else out_folder(out), console) as components:
        if space is not None:
            ops = {"ops": list(space.ops)} if space.ops else {}  # as objects, which need no trust
            keys = merge({"space": dataclasses.replace(space, components=components).to_dict() | ops}, keys)
        elif components:
            keys = merge({"space": {"components": [spec.to_plain() for spec in components]}}, keys)
        if not keys["task"]:
            del keys["task"]
        yield from_mapping(kind, {**values, "keys": keys, "defaults": defaults, **more}, "option")


@contextmanager
def _plain_models(
    specs: Sequence[ComponentSpec], out: Path | None, console: Console | None
) -> Iterator[tuple[ComponentSpec, ...]]:
    """The components as plain data; model objects are saved beside the folder `out`."""
    if out is None or all(spec.model is None for spec in specs):
        yield tuple(specs)
        return
    folder = out.resolve().with_name(f"{out.name}.components")
    try:
        saved = tuple(_saved(spec, folder) for spec in specs)
        if console is not None:
            info(console, f"model objects: {folder}")
        yield saved
    except BaseException:
        if not out.exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _saved(spec: ComponentSpec, folder: Path) -> ComponentSpec:
    if spec.model is None:
        return spec
    with writing(folder / spec.name):
        spec.save_model(folder / spec.name)
    return dataclasses.replace(spec, model=None, tokenizer=None, source=str(folder / spec.name))


@contextmanager
def model_source(model: Any, tokenizer: Any = None) -> Iterator[str]:
    """The source of a model as commands take it, a folder or a name. A model object is saved in a temporary folder.

    Args:
        model: a folder, a name, a result, a Hugging Face model, or a pair of one and its tokenizer.
        tokenizer: the tokenizer of a model object.

    Raises ManticoreError for another object, and for a model object that is no language model and no hybrid, or that
    reads text and has no tokenizer.
    """
    is_model = isinstance(model, tuple | list | ComponentSpec) or hasattr(model, "save_pretrained")
    if not is_model or (isinstance(model, ComponentSpec) and model.model is None):
        if tokenizer is not None:
            raise ManticoreError("tokenizer= goes with a model object; a folder and a name have their own")
        yield str(source_folder(model))
        return
    spec = ComponentSpec.of(model, tokenizer)
    config = spec.model.config
    labels = getattr(config, "head", None) if config.model_type == HybridConfig.model_type else None
    if labels is None and spec.model.get_output_embeddings() is None:
        raise ManticoreError(f"{type(spec.model).__name__} is no language model and no hybrid")
    if labels is None and spec.tokenizer is None:
        raise ManticoreError(
            "a model object reads text with its tokenizer: pass tokenizer=..., or a pair (model, tokenizer)"
        )
    with TemporaryDirectory() as folder:
        yield str(_saved(spec, Path(folder)).source)


def source_folder(source: Any) -> Path:
    """The folder of a result, a projector set or another object that has one, or a path as it is.

    Raises ManticoreError for an object without a folder.
    """
    folder = getattr(source, "folder", source)
    if not isinstance(folder, str | Path) or not str(folder):
        raise ManticoreError(f"expected a folder, a name or a result, got {shown(source)}")
    return Path(folder)


def name_list(names: Any, argument: str, example: str) -> tuple[str, ...]:
    """Names or paths as text. Raises ManticoreError unless they are a list that is not empty."""
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    if not listed or not names or not all(isinstance(name, str | Path) for name in names):
        raise ManticoreError(f"{argument} is a list of names, such as [{example}], not {shown(names)}")
    return tuple(map(str, names))


def out_folder(out: Any) -> Path:
    """The folder that a function writes. Raises ManticoreError for an object that is no path."""
    path: Path = convert(out, Path, "out")
    return path


def split_loggers(logger: Any) -> tuple[tuple[str, ...] | None, Any]:
    """The names of loggers in an argument, None without any, and the other loggers."""
    if isinstance(logger, str):
        return tuple(name.strip() for name in logger.split(",")), None
    if not isinstance(logger, list | tuple):
        return None, logger
    names = tuple(item for item in logger if isinstance(item, str))
    return names or None, [item for item in logger if not isinstance(item, str)]
