"""Tasks by name: importing this module enters ours into the registry. Knows no task by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from manticore.errors import UnknownName
from manticore.tasks.classification import fashion_mnist as _fashion_mnist  # noqa: F401
from manticore.tasks.classification import spam as _spam  # noqa: F401
from manticore.tasks.info import TaskInfo
from manticore.tasks.language import alpaca as _alpaca  # noqa: F401
from manticore.tasks.language import eli5 as _eli5  # noqa: F401
from manticore.tasks.language import ptb as _ptb  # noqa: F401
from manticore.tasks.language import text as _text  # noqa: F401
from manticore.tasks.language import wikitext as _wikitext  # noqa: F401
from manticore.tasks.lra import image as _lra_image  # noqa: F401
from manticore.tasks.lra import retrieval as _lra_retrieval  # noqa: F401
from manticore.tasks.lra import text as _lra_text  # noqa: F401
from manticore.tasks.lra.listops import task as _lra_listops  # noqa: F401
from manticore.tasks.lra.pathfinder import task as _lra_pathfinder  # noqa: F401
from manticore.tasks.mad import catalog as _mad  # noqa: F401
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task, task_infos
from manticore.tasks.task import tasks as tasks


def load_task(options: TaskOptions) -> Task:
    """The task that `options` describe; data is generated when it is first needed, files are read now.

    Raises:
        UnknownName: no such task, or it has no such setting; with the nearest name and the full list.
        ManticoreError: the options or the files cannot be used.
    """
    made = tasks[options.bare_name](options)
    _check_settings(options, made.settings)
    return made


def task_info(options: TaskOptions) -> TaskInfo:
    """What is known of a task before its data is there. Raises as `load_task` does, but for want of data."""
    own = options.bare_name in task_infos
    made = task_infos[options.bare_name](options) if own else tasks[options.bare_name](options).sheet()
    _check_settings(options, made.settings)
    return made


def _check_settings(options: TaskOptions, known: Mapping[str, object]) -> None:
    for key in options.settings:
        if key not in known:
            raise UnknownName(f"setting of {options.bare_name}", key, known)


def write_task(options: TaskOptions, folder: Path | str) -> list[Path]:
    """Write a task in its official file format into `folder` and return the files.

    Preset `auto` means `paper` here, GPU or not: official files hold the official distribution unless told otherwise.

    Raises ManticoreError if one of the files exists, or the task has no such format.
    """
    if options.preset == "auto":
        options = replace(options, preset="paper")
    return load_task(options).write(Path(folder))
