"""The task of a trained model by the files in its folder: the default of `evaluate` and `finetune`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from manticore.config.loading import read_yaml
from manticore.errors import ManticoreError
from manticore.export.load import check_config_exists, hybrid_folder, load_hybrid_task
from manticore.tasks.catalog import task_info, tasks
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task, task_infos
from manticore.utils.fields import from_mapping
from manticore.utils.io import read_json

RECIPE, FINETUNING = "recipe.yaml", "finetune.json"
"""Files of a search and of a fine-tuning with their options, those of the task among them."""

MODEL_FOLDERS = ("hybrid", "best_component")
"""Folders of models in such a folder."""


def task_options(source: Path | str, keys: Mapping[str, Any]) -> TaskOptions:
    """The options of a task for a trained model: `keys` over those of the model's own task.

    If `keys` name another task or other data, they are used alone, without the numbers of examples of the own task.

    Args:
        source: run folder, exported folder, or a component.
        keys: options of the task that are set.

    Raises ManticoreError if no task is named, neither by `keys` nor by the folder, if the folder does not name the data
    of its training, or if it has no model.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        check_config_exists(folder)
    own = saved_task(folder)
    if own is None and "name" not in keys:
        own = _named_task(folder, "data_dir" in keys)
        if own is None:
            raise ManticoreError(f"{source} does not say which task it was trained on; name one, such as --task text")
    if own is None or str(keys.get("name", own.name)).partition("@")[0] != own.bare_name:
        return from_mapping(TaskOptions, keys, "recipe key", "task.")
    if keys.get("data_dir", own.data_dir) != own.data_dir:
        own = TaskOptions(own.name, own.preset, cache_dir=own.cache_dir)
    return from_mapping(TaskOptions, keys, "recipe key", "task.", own)


def saved_task(folder: Path) -> TaskOptions | None:
    """All options of the task of a run or a fine-tuning, also from a model's folder in it; None for other folders."""
    for parent in (folder, folder.parent) if folder.name in MODEL_FOLDERS else (folder,):
        if (parent / RECIPE).is_file():
            return _read(read_yaml(parent / RECIPE).get("task"))
        if (parent / FINETUNING).is_file():
            settings = read_json(parent / FINETUNING)
            return _read(settings.get("task") if isinstance(settings, dict) else None)
    return None


def language_options(source: Path | str, keys: Mapping[str, Any]) -> TaskOptions:
    """The options of a trained model's own task, for texts in chunks of the same length; those of `text` without one.

    `keys` may have another preset. Raises ManticoreError if the folder holds no model.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        check_config_exists(folder)
    own = saved_task(folder) or _named_task(folder, has_data=True) or TaskOptions("text")
    return replace(own, preset=keys["preset"]) if "preset" in keys else own


def own_task(source: Path | str, options: TaskOptions | None, model: PreTrainedModel) -> Task | None:
    """The task of a run or a fine-tuning, as its model reads it, if `options` may name other splits of it.

    None if they are its own options, for other folders and components, and if its data is gone. Without `options` the
    splits may always be others.
    """
    folder = Path(source).expanduser()
    own = saved_task(folder)
    if own is None:
        return None
    if options is not None and replace(own, cache_dir=None, workers=0) == replace(options, cache_dir=None, workers=0):
        return None
    try:
        task = load_hybrid_task(folder, model, own)
        task.splits()
    except ManticoreError:
        return None
    return task


def _read(values: Any) -> TaskOptions | None:
    return from_mapping(TaskOptions, values, "recipe key", "task.") if isinstance(values, Mapping) else None


def _named_task(folder: Path, has_data: bool) -> TaskOptions | None:
    """The options of an export's task from its name in results: settings, or the word `short`, follow after `@`.

    Raises ManticoreError for text whose files are neither named nor given (`has_data`).
    """
    config = hybrid_folder(folder) / "config.json"
    content = read_json(config) if config.is_file() else None
    name = content.get("task") if isinstance(content, dict) else None
    if not isinstance(name, str):
        return None
    start, _, settings = name.partition("@")
    task, colon, _ = start.partition(":")  # such as `text:book.txt`
    if colon and not has_data:
        raise ManticoreError(f"{folder} was trained on {name}; name its data: --task {task} --data-dir PATH")
    if task not in tasks and task not in task_infos:
        return None
    try:
        options = TaskOptions(f"{task}@{settings}" if settings else task)
        _ = task_info(options)
    except ManticoreError:
        return TaskOptions(task)
    return options
