"""Tasks by name: importing this module enters ours into the registry. Knows no task by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from manticore.errors import UnknownName
from manticore.tasks import alpaca as alpaca
from manticore.tasks import bytes_spam as bytes_spam
from manticore.tasks import eli5 as eli5
from manticore.tasks import lra_image as lra_image
from manticore.tasks import lra_listops as lra_listops
from manticore.tasks import lra_pathfinder as lra_pathfinder
from manticore.tasks import lra_retrieval as lra_retrieval
from manticore.tasks import lra_text as lra_text
from manticore.tasks import mad_catalog as mad_catalog
from manticore.tasks import pixels_fashion_mnist as pixels_fashion_mnist
from manticore.tasks import ptb as ptb
from manticore.tasks import text as text
from manticore.tasks import wikitext as wikitext
from manticore.tasks.base import Sheet, Task, TaskOptions, sheets
from manticore.tasks.base import tasks as tasks


def load_task(options: TaskOptions) -> Task:
    """The task that `options` describe; data is generated when it is first needed, files are read now.

    Raises:
        UnknownName: no such task, or it has no such setting; with the nearest name and the full list.
        ManticoreError: the options or the files cannot be used.
    """
    made = tasks[options.base](options)
    _check_settings(options, made.settings)
    return made


def sheet_of(options: TaskOptions) -> Sheet:
    """What is known of a task before its data is there. Raises as `load_task` does, but for want of data."""
    own = options.base in sheets
    made = sheets[options.base](options) if own else tasks[options.base](options).sheet()
    _check_settings(options, made.settings)
    return made


def _check_settings(options: TaskOptions, known: Mapping[str, object]) -> None:
    for key in options.settings:
        if key not in known:
            raise UnknownName(f"setting of {options.base}", key, known)


def write_task(options: TaskOptions, folder: Path | str) -> list[Path]:
    """Write a task in its official file format into `folder` and return the files.

    Preset `auto` means `paper` here, GPU or not: official files hold the official distribution unless told otherwise.

    Raises ManticoreError if one of the files exists, or the task has no such format.
    """
    if options.preset == "auto":
        options = replace(options, preset="paper")
    return load_task(options).write(Path(folder))
