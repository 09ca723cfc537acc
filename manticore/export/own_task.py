"""The task that a trained model belongs to, as its folder says: the default of `evaluate` and `finetune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manticore.config.loading import read_yaml
from manticore.errors import ManticoreError
from manticore.export.load import check_config_exists, hybrid_folder
from manticore.tasks.catalog import task_info, tasks
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import task_infos
from manticore.utils.fields import from_mapping
from manticore.utils.io import read_json

RECIPE, FINETUNING = "recipe.yaml", "finetune.json"
"""Files of a search and of a fine-tuning that have the options of the task."""


def task_options(source: Path | str, keys: Mapping[str, Any]) -> TaskOptions:
    """The options of a task for a trained model: `keys` over those of the model's own task.

    Keys that name another task, or other data, are taken as they are, without the numbers of examples of the own task.

    Args:
        source: run folder, exported folder, or a component.
        keys: options of the task that are set.

    Raises ManticoreError if no task is named and the folder does not say which it is, or if it holds no model.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        check_config_exists(folder)
    named = str(keys["name"]) if "name" in keys else None
    own = own_task(folder)
    if named is not None and (own is None or named.partition("@")[0] != own.bare_name):
        return from_mapping(TaskOptions, keys, "recipe key", "task.")
    if own is None:
        raise ManticoreError(f"{source} does not say which task it was trained on; name one, such as --task text")
    if keys.get("data_dir", own.data_dir) != own.data_dir:
        own = TaskOptions(own.name, own.preset, cache_dir=own.cache_dir)
    return from_mapping(TaskOptions, keys, "recipe key", "task.", own)


def own_task(folder: Path) -> TaskOptions | None:
    """The task that a run, a fine-tuning or an export was trained on; None if its folder does not say.

    A run and a fine-tuning have all options of their task. An export has its name only, so its data is the default data
    of that task. Raises ManticoreError if that would be other text than the export was trained on.
    """
    for parent in (folder, folder.parent) if folder.name == "hybrid" else (folder,):
        if (parent / RECIPE).is_file():
            return _read(read_yaml(parent / RECIPE).get("task"))
        if (parent / FINETUNING).is_file():
            settings = read_json(parent / FINETUNING)
            return _read(settings.get("task") if isinstance(settings, dict) else None)
    config = hybrid_folder(folder) / "config.json"
    content = read_json(config) if config.is_file() else None
    name = content.get("task") if isinstance(content, dict) else None
    return _of_name(folder, name) if isinstance(name, str) else None


def _read(values: Any) -> TaskOptions | None:
    return from_mapping(TaskOptions, values, "recipe key", "task.") if isinstance(values, Mapping) else None


def _of_name(folder: Path, name: str) -> TaskOptions | None:
    """The options of a task from the name that results have: its settings, or the word `short`, follow after `@`."""
    task, colon, _ = name.partition("@")[0].partition(":")
    if colon:  # such as `text:book.txt`
        raise ManticoreError(f"{folder} was trained on {name}; name its data: --task {task} --data-dir PATH")
    if task not in tasks and task not in task_infos:
        return None
    try:
        options = TaskOptions(name)
        _ = task_info(options)
    except ManticoreError:
        return TaskOptions(task)
    return options
