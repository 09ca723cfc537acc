"""Runs that end at a chosen event, as in a crash, and the comparison of two run folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manticore.results.search import SearchResult
from manticore.training.callbacks import ProgressDisplay

IGNORED = ("report.html", "README.md", "metrics.json", "recipe.yaml")
"""Files with times. `metrics.json` is compared without them."""


class Killed(BaseException):
    """The end of a process, which no handler of errors in the run may take for one of its own."""


class Events:
    """The events of a run: training steps, and files that were completed. Raises `Killed` after number `last`."""

    def __init__(self, last: int | None = None) -> None:
        self.names: list[str] = []
        self.last = last

    def add(self, name: str) -> None:
        """Record an event."""
        self.names.append(name)
        if len(self.names) == self.last:
            raise Killed(name)


@contextmanager
def recorded(root: Path, last: int | None = None) -> Iterator[Events]:
    """Record the events of runs in the block whose files are below `root`, and end them after event number `last`."""
    events, replaced, stepped = Events(last), Path.replace, ProgressDisplay.on_train_batch_end

    def replace_file(self: Path, target: Path) -> Path:
        result = replaced(self, target)
        if Path(target).is_relative_to(root):
            events.add(str(Path(target).relative_to(root)))
        return result

    def end_step(self: ProgressDisplay, trainer: Any, module: Any, *more: object) -> None:
        stepped(self, trainer, module, *more)
        events.add(f"{module.phase} step {module.step_count}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace_file)
        patch.setattr(ProgressDisplay, "on_train_batch_end", end_step)
        yield events


def killed_after(root: Path, last: int, run: Callable[[], object]) -> bool:
    """Whether `run` had an event number `last`, after which it was ended."""
    try:
        with recorded(root, last):
            run()
    except Killed:
        return True
    return False


def assert_same_runs(resumed: Path, uninterrupted: Path) -> None:
    """All files of two run folders are equal, byte by byte, but for times and logs."""
    names = [_files(folder) for folder in (resumed, uninterrupted)]
    assert names[0] == names[1], sorted(names[0] ^ names[1])
    for name in sorted(names[0]):
        if name not in IGNORED and not (name.startswith("checkpoints") and name.endswith(".json")):
            assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    results = [replace(SearchResult.load(folder), seconds={}) for folder in (resumed, uninterrupted)]
    assert results[0] == results[1]


def _files(folder: Path) -> set[str]:
    files = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return {name for name in files if not name.startswith("logs/") and not name.endswith("README.md")}
