"""From YAML, flags and overrides to a recipe: layers merged, presets chosen, keys and values checked.

A recipe file may have `presets:`, a mapping from the name of a preset to the keys that differ there. Later layers win:
defaults of the dataclasses, the file, its preset, the command's flags, `--set`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from manticore.alignment.projector_set import check_stages, read_projector_config
from manticore.components.context_length import context_length
from manticore.config.commands import ModelCommand, RecipeCommand
from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError, UnknownName, shown
from manticore.nas.space import SearchSpace
from manticore.tasks.catalog import task_info, tasks
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.task import task_infos
from manticore.utils import assets
from manticore.utils.fields import field_types, from_mapping
from manticore.utils.text_files import read_text
from manticore.utils.yaml_loading import DEEPEST, load_yaml, yaml_problem


def read_yaml(file: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises BadFile."""
    try:
        values = load_yaml(read_text(file))
    except yaml.YAMLError as error:
        raise BadFile(file, *yaml_problem(error)) from None
    if not isinstance(values, dict):
        raise BadFile(file, "a recipe is a mapping with keys such as task, space, search, finetune")
    return values


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`low` with the values of `high` over it, mapping by mapping."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def from_dotted(assignments: Sequence[str]) -> dict[str, Any]:
    """`["search.steps=10"]` as nested mappings, with values read as YAML. Raises ManticoreError."""
    out: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ManticoreError(f"--set takes key=value, such as search.steps=100, not {shown(assignment)}")
        if key.count(".") > DEEPEST:
            raise ManticoreError(f"--set {shown(key)}: no key has so many parts")
        try:
            value: Any = load_yaml(text)
        except yaml.YAMLError as error:
            problem = yaml_problem(error)[0]
            reason = f": {problem}" if "stands twice" in problem else ""
            raise ManticoreError(f"--set {key}: {shown(text)} is not a value{reason}") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        out = merge(out, value)
    return out


def resolve(layers: Sequence[Mapping[str, Any]], preset: str) -> Recipe:
    """The recipe of a file's mapping, flags and overrides, later layers over earlier ones.

    Raises:
        UnknownName: a key that does not exist, with the nearest.
        ManticoreError: a value of the wrong type or out of range.
    """
    values: dict[str, Any] = {"space": {}}
    for layer in layers:
        layer = dict(layer)
        presets = layer.pop("presets", None)
        presets = {} if presets is None else presets
        if not isinstance(presets, Mapping) or not all(isinstance(keys, Mapping) for keys in presets.values()):
            raise ManticoreError("recipe key 'presets' maps names of presets to the keys that differ there")
        if presets and preset not in presets:
            raise UnknownName("preset of this recipe", preset, presets)
        values = merge(merge(values, layer), presets.get(preset, {}))
    return from_mapping(Recipe, values, "recipe key")


FAMILIES = {
    "pixels": "lra",
    "bytes": "lra",
    "labelled": "lra",
    **dict.fromkeys(("wikitext", "ptb", "alpaca", "eli5"), "text"),
}
"""For families of tasks without a recipe, the family whose recipe they use."""


class LoadedRecipe(NamedTuple):
    """A recipe, and the reason for the preset of its task, as text."""

    recipe: Recipe
    preset_reason: str


def read_recipe(file: Path) -> Recipe:
    """The recipe that a run has saved; ops are named, not imported. Raises as `resolve` does, and BadFile."""
    return resolve([with_current_keys(read_yaml(file))], "auto")


def with_current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a saved recipe, with `selection.max` in place of the keys that limits had before."""
    selection = dict(values.get("selection") or {})
    parameters, flops = selection.pop("max_parameters", None), selection.pop("max_flops", None)
    if flops is not None:
        selection["max"] = [f"prefill_flops={flops}"]
    elif parameters is not None:
        selection["max"] = [f"parameters={parameters}"]
    return {**values, "selection": selection} if "selection" in values else dict(values)


def load_recipe(
    config: str | Path | None,
    flags: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    trust_code: bool = False,
    components: Sequence[str] | None = None,
) -> LoadedRecipe:
    """The recipe of a file with flags over it.

    The preset `auto` is replaced by the one that it selects on this machine, so that the recipe is the same on another.
    The file's `search.task_settings` and `search.shorter_sequences` are left out if the flags name a task with settings
    of its own, or data, or a strategy that trains paths by themselves.

    Args:
        config: name or path of a recipe file; None: the task's own, if there is one.
        flags: nested mappings, as in a recipe file.
        defaults: the same; the file overrides them.
        trust_code: import the ops that the search space names by import path.
        components: models that replace those of the recipe, by index.

    Raises as `resolve` and `SearchSpace.with_code` do, and ManticoreError for a file that cannot be read.
    """
    task = _task_keys(flags)
    if config is None:
        config = default_config(str(task.get("name", TaskOptions.name)))
    values = {} if config is None else with_current_keys(read_yaml(assets.find("configs", config)))
    if "@" in str(task.get("name")) or task.get("data_dir") is not None or _trains_paths(flags):
        values = _searched_on_its_task(values)
    device = next((keys["run"]["device"] for keys in (flags, values) if _names_device(keys)), "auto")
    preset, reason = choose_preset(task.get("preset") or _task_keys(values).get("preset") or "auto", str(device))
    recipe = resolve([defaults or {}, values, flags], preset)
    if components is not None:
        recipe = replace(recipe, space=recipe.space.with_components(components))
    limits = map(context_length, recipe.space.components)
    options = fit_to_context(replace(recipe.task, preset=preset), limits)
    space = _with_projector_options(recipe).with_code(trust_code)
    return LoadedRecipe(replace(recipe, task=options, space=space), reason)


def _trains_paths(flags: Mapping[str, Any]) -> bool:
    """Whether the flags name a strategy that trains paths by themselves."""
    from manticore.nas.strategies import PathStrategy, strategies

    search = flags.get("search")
    name = search.get("strategy") if isinstance(search, Mapping) else None
    return name in set(strategies) and issubclass(strategies[name], PathStrategy)


def _searched_on_its_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without a variant of the task for its search, which suits the recipe's own task."""
    out = dict(values)
    if isinstance(search := out.get("search"), Mapping):
        variant = {"task_settings", "shorter_sequences"}
        out["search"] = {key: value for key, value in search.items() if key not in variant}
    if isinstance(presets := out.get("presets"), Mapping):
        out["presets"] = {
            name: _searched_on_its_task(keys) if isinstance(keys, Mapping) else keys for name, keys in presets.items()
        }
    return out


def _names_device(keys: Mapping[str, Any]) -> bool:
    return isinstance(run := keys.get("run"), Mapping) and "device" in run


def load_command(
    command: RecipeCommand, more: Mapping[str, Any] | None = None, components: Sequence[str] | None = None
) -> LoadedRecipe:
    """The recipe of a command: its recipe file, search space, flags and `--set`; later ones override earlier ones.

    Args:
        command: the options.
        more: keys that the command itself sets; they override flags, and `--set` overrides them.
        components: models that replace those of the search space, by index.

    Raises as `load_recipe` does, and ManticoreError if the components are named twice.
    """
    keys = command.keys
    if command.space is not None:
        if "components" in keys.get("space", {}):
            raise ManticoreError("--models and --space both name the components; give one of them")
        keys = merge({"space": SearchSpace.load(assets.find("spaces", command.space)).to_dict()}, keys)
    flags = merge(merge(keys, more or {}), from_dotted(command.overrides))
    return load_recipe(command.config, flags, command.defaults, command.trust_code, components)


Command = TypeVar("Command", bound=ModelCommand)


def with_overrides(command: Command) -> Command:
    """A command on a model whose sections have the values of its `--set`.

    Raises UnknownName for a section or a key that does not exist, and ManticoreError for a wrong value.
    """
    values, kinds = from_dotted(command.overrides), field_types(type(command))
    sections = {name: kinds[name] for name in ("task", "finetune", "adapter", "run") if name in kinds}
    changed: dict[str, Any] = {}
    for name, keys in values.items():
        if name not in sections:
            raise UnknownName("recipe section of this command", name, sections)
        if not isinstance(keys, Mapping):
            raise ManticoreError(f"recipe key '{name}' has keys of its own; set one, such as --set {name}.KEY=VALUE")
        current = getattr(command, name)
        if isinstance(current, Mapping):  # the keys of a task, of which others are not known yet
            changed[name] = merge(current, keys)
        else:
            changed[name] = from_mapping(kinds[name], keys, "recipe key", f"{name}.", current)
    return replace(command, **changed)


def stages_for(task: str) -> int:
    """Number of stages in the recipe of a task; the default number for a task without a recipe.

    Raises UnknownName for a task that does not exist.
    """
    _ = tasks[task.partition("@")[0]]
    config = default_config(task)
    space = {} if config is None else read_yaml(assets.find("configs", config)).get("space", {})
    return int(space.get("stages", SearchSpace.stages))


def default_config(task: str) -> str | None:
    """Name of a task's recipe: `search/TASK`, or that of its family, the part of the name before the first dash."""
    name = task.partition("@")[0]
    family = name.partition("-")[0]
    candidates = (f"search/{stem}" for stem in (name, FAMILIES.get(family, family)))
    return next((config for config in candidates if config in assets.names("configs")), None)


def _task_keys(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `task` of a recipe; empty where it is no mapping, which `resolve` reports."""
    task = values.get("task")
    return task if isinstance(task, Mapping) else {}


def _with_projector_options(recipe: Recipe) -> SearchSpace:
    """The search space, with the options of projectors between language models where the recipe does not set them.

    They are those of the projector set `align.projectors`, or else the bypass of `align.bypass`.
    """
    space, align = recipe.space, recipe.align
    if not _is_language_modeling(recipe.task) or not space.supports("bypass"):
        return space
    projector: dict[str, Any] = {"kind": space.projector, "bypass": align.bypass}
    if align.projectors is not None:
        config = read_projector_config(assets.find("projectors", align.projectors))
        check_stages(align.projectors, config["stages"], space.stages)
        projector = {"bypass": False, **config["projector"]}
        if space.projector not in (SearchSpace.projector, projector["kind"]):
            return space  # the set does not fit; `ProjectorSet.check` reports it later
    kind = projector.pop("kind")
    return replace(space, projector=kind, projector_options={**projector, **space.projector_options})


def _is_language_modeling(options: TaskOptions) -> bool:
    """Whether the task is language modelling, without reading its data. False for a task without a `TaskInfo`."""
    return options.bare_name in task_infos and task_info(options).kind == "lm"


def fit_to_context(options: TaskOptions, context_lengths: Iterable[int | None]) -> TaskOptions:
    """The options, with shorter chunks of text if a model has fewer positions than the preset's chunks have tokens.

    A chunk length that is set after `@` in the task's name is kept. Options of tasks that are not language modelling
    are not changed.

    Args:
        options: of any task.
        context_lengths: number of positions of each model, None for no limit.

    Raises as `task_info` does.
    """
    if "length" in options.settings or not _is_language_modeling(options):
        return options
    info = task_info(options)
    shortest = min((limit for limit in context_lengths if limit is not None), default=info.max_length)
    if shortest >= info.max_length:
        return options
    return replace(options, name=f"{options.name}{',' if options.settings else '@'}length={shortest}")
