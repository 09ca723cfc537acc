"""The Python interface: a search from objects, and the loading of its result."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manticore.api.result import Result
from manticore.config.loading import load_recipe, merge
from manticore.experiment.run_dir import open_run_dir, unused_run_dir
from manticore.nas.space import SearchSpace
from manticore.pipelines import search as pipeline
from manticore.tasks.data import TaskSource
from manticore.training.user_trainer import UserTrainer
from manticore.utils import assets
from manticore.utils.console import info, make_console


def search(
    space: SearchSpace | str | Path,
    task: Any = "lra-listops",
    *,
    out: Path | str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    callbacks: Any = (),
    logger: Any = None,
    trainer: Mapping[str, Any] | None = None,
    trust_code: bool = False,
    **options: Any,
) -> Result:
    """Search for the best hybrid of a space on a task, fine-tune it, compare it and export it.

    Args:
        space: a `SearchSpace`, or the name or path of one.
        task: name of a task, a mapping of its options (name, preset, data_dir, train, val, test, ...), or data: what
            `mc.task` returns or takes. Data in memory is written beside the run folder.
        out: run folder. Default: a new one under `runs/`.
        config: name or path of a recipe. Default: the task's own, if there is one.
        resume: resume the run in `out`.
        quiet: print nothing.
        callbacks: Lightning callbacks of all phases of training, or a function from a phase's name to callbacks. A
            callback reads the name as `module.phase`.
        logger: a Lightning logger or several, beside CSV and TensorBoard; metrics are called `search/loss`, with the
            phase in front. Or a function from a phase's name to loggers.
        trainer: flags of the Lightning Trainer of all phases, such as `{"profiler": "simple"}`.
        trust_code: import the ops that a space in a file names by import path, which runs their code. Ops that are
            objects need no trust.
        options: other sections of the recipe, as mappings such as `search={"steps": 100}, run={"seed": 1}` or as
            options objects.

    Returns:
        the result; see `Result`.

    Raises ManticoreError, before anything is written, if the recipe is wrong or cannot be run here.
    """
    if not isinstance(space, SearchSpace):
        space = SearchSpace.load(assets.find("spaces", space))
    user = UserTrainer(callbacks, logger, trainer or {})
    source = TaskSource.of(task)
    folder = Path(out) if out is not None else unused_run_dir(f"{source.name}-{'+'.join(space.names)}")
    open_run_dir(folder, resume)
    console = make_console(quiet)
    sections = {
        key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for key, value in options.items()
    }
    saved_models = folder.resolve().with_name(f"{folder.name}.components")
    try:
        with source.saved(folder, console) as task_keys:
            keys = {"space": to_plain_space(space, saved_models), "task": task_keys}
            if saved_models.exists():
                info(console, f"model objects: {saved_models}")
            recipe, reason = load_recipe(config, merge(keys, sections), trust_code)
            return Result(pipeline.run(recipe, folder, console, resume, reason, user), trust_code)
    except BaseException:
        if not folder.exists():
            shutil.rmtree(saved_models, ignore_errors=True)
        raise


def to_plain_space(space: SearchSpace, folder: Path) -> dict[str, Any]:
    """A search space as plain data but for its ops. Components that are model objects are saved in `folder` first."""
    specs = []
    for spec in space.components:
        if spec.model is not None:
            saved = folder / spec.name
            spec.save_model(saved)
            spec = dataclasses.replace(spec, model=None, tokenizer=None, source=str(saved))
        specs.append(spec)
    plain = dataclasses.replace(space, components=tuple(specs)).to_dict()
    return plain | ({"ops": list(space.ops)} if space.ops else {})
