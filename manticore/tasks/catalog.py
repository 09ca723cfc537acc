"""Tasks by name: importing this module enters ours into the registry. Knows no task by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manticore.tasks import lra_listops as lra_listops
from manticore.tasks.base import Task, TaskOptions
from manticore.tasks.base import tasks as tasks


def load_task(options: TaskOptions) -> Task:
    """The task that `options` describe; data is generated when it is first needed, files are read now.

    Raises:
        UnknownName: no such task; with the nearest name and the full list.
        ManticoreError: the options or the files cannot be used.
    """
    return tasks[options.name](options)


def write_task(options: TaskOptions, folder: Path | str) -> list[Path]:
    """Write a task in its official file format into `folder` and return the files.

    Preset `auto` means `paper` here, GPU or not: official files hold the official distribution unless told otherwise.

    Raises ManticoreError if one of the files exists, or the task has no such format.
    """
    if options.preset == "auto":
        options = replace(options, preset="paper")
    return load_task(options).write(Path(folder))
