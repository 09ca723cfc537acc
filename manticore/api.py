"""The Python door: the same runs as the command line, from objects. Knows nothing the stories do not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from manticore import library
from manticore.recipe import Recipe
from manticore.recipe_reading import merged, read_yaml, resolve
from manticore.runs.folder import free_folder, open_folder
from manticore.runs.hybrids import read_hybrid
from manticore.runs.reach import reach_of, within
from manticore.runs.search import Result, run
from manticore.space import SearchSpace
from manticore.tasks.presets import choose_preset
from manticore.terminal import console

__all__ = ["Result", "load", "search"]

FAMILIES = {"pixels": "lra", "bytes": "lra", **dict.fromkeys(("wikitext", "ptb", "alpaca", "eli5"), "text")}
"""Families of tasks that have their recipe in common with another."""


def search(
    space: SearchSpace | str | Path,
    task: str | dict[str, Any] = "lra-listops",
    *,
    out: Path | str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Search the best hybrid of a space for a task, fine-tune it, compare it, export it.

    Args:
        space: a `SearchSpace`, or the name or path of one.
        task: name of a task, or a mapping of its options (name, preset, data_dir, train, val, test, ...).
        out: run folder. Default: a new one under `runs/`.
        config: name or path of a recipe. Default: the task's own, if there is one.
        resume: go on with the run in `out`.
        quiet: print nothing.
        options: other recipe keys with mappings, such as `search={"steps": 100}, run={"seed": 1}`.

    Returns:
        the result, with `.architecture`, `.metrics`, `.hybrid` and `.path`.

    Raises ManticoreError if something cannot be; nothing has been written then.
    """
    if not isinstance(space, SearchSpace):
        space = SearchSpace.load(library.find("spaces", space))
    told = {"name": task} if isinstance(task, str) else dict(task)
    folder = Path(out) if out is not None else free_folder(f"{told.get('name', 'search')}-{'+'.join(space.names)}")
    open_folder(folder, resume)
    plain = {key: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for key, v in options.items()}  # type: ignore[arg-type]
    place = folder.resolve().with_name(f"{folder.name}.components")
    try:
        recipe = recipe_for(config, merged({"space": written_down(space, place), "task": told}, plain))
        return run(recipe, folder, resume, console(quiet))
    except BaseException:
        if not folder.exists():
            shutil.rmtree(place, ignore_errors=True)
        raise


def recipe_for(config: str | Path | None, flags: dict[str, Any]) -> Recipe:
    """The recipe that a named, given or default file and some flags come to."""
    task = _mapping(flags)
    if config is None:
        config = recipe_of(str(task.get("name", "lra-listops")))
    file = library.find("configs", config) if config is not None else None
    held = read_yaml(file) if file is not None else {}
    preset = task.get("preset") or _mapping(held).get("preset") or "auto"
    chosen, reason = choose_preset(preset)
    recipe = resolve([held, flags], chosen)
    # What was found out is written down, so that the recipe does the same on another machine.
    run = recipe.run if preset != "auto" else dataclasses.replace(recipe.run, preset_reason=reason)
    reach = map(reach_of, recipe.search_space().components)
    return dataclasses.replace(recipe, task=within(dataclasses.replace(recipe.task, preset=chosen), reach), run=run)


def recipe_of(task: str) -> str | None:
    """The shelf's recipe for a task: of its own name, or of its family, which is told before the first dash."""
    base = task.partition("@")[0]
    family = base.partition("-")[0]
    wanted = (f"search/{name}" for name in (base, FAMILIES.get(family, family)))
    return next((name for name in wanted if name in library.names("configs")), None)


def _mapping(held: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says about the task, if it is sound; `resolve` says so where it is not."""
    task = held.get("task")
    return task if isinstance(task, dict) else {}


def written_down(space: SearchSpace, folder: Path) -> dict[str, Any]:
    """A space as plain data; components given as model objects are saved in `folder` first."""
    specs = []
    for spec in space.components:
        if spec.model is not None:
            place = folder / spec.name
            spec.model.save_pretrained(place)
            spec = dataclasses.replace(spec, model=None, source=str(place))
        specs.append(spec)
    fields = {f.name: getattr(space, f.name) for f in dataclasses.fields(space) if f.name != "components"}
    return SearchSpace(components=specs, **fields).to_dict()


def load(folder: Path | str) -> PreTrainedModel:
    """The hybrid in an exported folder, or in a run folder, with the head it was exported with, in float32.

    Raises ManticoreError if there is none.
    """
    return read_hybrid(Path(folder))
