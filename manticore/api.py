"""The Python door: the same runs as the command line, from objects. Knows nothing the stories do not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from manticore.config.loading import load_recipe, merge
from manticore.experiment.run_dir import open_run_dir, unused_run_dir
from manticore.export.load import load_hybrid
from manticore.nas.space import SearchSpace
from manticore.pipelines.search import Result, run
from manticore.utils import assets
from manticore.utils.console import make_console

__all__ = ["Result", "load", "search"]


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
        space = SearchSpace.load(assets.find("spaces", space))
    told = {"name": task} if isinstance(task, str) else dict(task)
    folder = Path(out) if out is not None else unused_run_dir(f"{told.get('name', 'search')}-{'+'.join(space.names)}")
    open_run_dir(folder, resume)
    plain = {key: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for key, v in options.items()}  # type: ignore[arg-type]
    place = folder.resolve().with_name(f"{folder.name}.components")
    try:
        recipe, reason = load_recipe(config, merge({"space": written_down(space, place), "task": told}, plain))
        return run(recipe, folder, make_console(quiet), resume, reason)
    except BaseException:
        if not folder.exists():
            shutil.rmtree(place, ignore_errors=True)
        raise


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
    return load_hybrid(Path(folder))
