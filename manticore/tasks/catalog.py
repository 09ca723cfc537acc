"""Tasks by name. Importing this module registers all tasks of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from manticore.errors import UnknownName
from manticore.tasks.classification import fashion_mnist as _fashion_mnist  # noqa: F401
from manticore.tasks.classification import labelled as _labelled  # noqa: F401
from manticore.tasks.classification import spam as _spam  # noqa: F401
from manticore.tasks.info import TaskInfo
from manticore.tasks.language import corpora as _corpora  # noqa: F401
from manticore.tasks.language import text as _text  # noqa: F401
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
    """The task that `options` describe. Files are read now; data that is generated is generated when it is needed.

    Raises:
        UnknownName: no such task, or no such setting of it; names the nearest one and all.
        ManticoreError: the options contradict each other, or the files cannot be used.
    """
    task = tasks[options.bare_name](options)
    _check_settings(options, task.settings)
    return task


def expand_families(names: Sequence[str]) -> list[str]:
    """Names of tasks, in which the first word of several tasks, such as `mad`, is replaced by all of these."""
    out: list[str] = []
    for name in names:
        family = [] if name in tasks else [task for task in tasks if task.startswith(f"{name}-")]
        out += family or [name]
    return out


def task_info(options: TaskOptions) -> TaskInfo:
    """The description of a task without its data. Raises the errors of `load_task` that do not concern files."""
    name = options.bare_name
    info = task_infos[name](options) if name in task_infos else tasks[name](options).info()
    _check_settings(options, info.settings)
    return info


def _check_settings(options: TaskOptions, known: Mapping[str, object]) -> None:
    for key in options.settings:
        if key not in known:
            raise UnknownName(f"setting of {options.bare_name}", key, known)


def write_task(options: TaskOptions, folder: Path | str) -> list[Path]:
    """Write a task in its official file format into `folder` and return the files.

    The preset `auto` means `paper` here, with and without a GPU, because official files have the official distribution.

    Raises ManticoreError if one of the files exists, or the task has no such format.
    """
    if options.preset == "auto":
        options = replace(options, preset="paper")
    return load_task(options).write(Path(folder))
