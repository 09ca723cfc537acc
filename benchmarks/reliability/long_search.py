"""Memory and files of a long search, sampled while it runs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning

import manticore as mc
from benchmarks.reliability.kills import KEYS, TASK
from manticore.utils.memory import resident_bytes

MOST_GROWTH = 0.01
"""Largest growth of the memory, as a share."""

SAMPLES = 10
"""Number of samples of the memory, at equal distances."""


@dataclass(frozen=True)
class LongSearch:
    """What a long search needed.

    Attributes:
        steps: number of training steps of the search.
        seconds: duration of all phases.
        megabytes: resident memory at each sample, the first one after the first tenth of the steps.
        bytes_per_alpha_step: mean length of a line of alphas.jsonl.
        files: bytes of the run folder by the first part of the path, files of one phase and logger together.
    """

    steps: int
    seconds: float
    megabytes: tuple[float, ...]
    bytes_per_alpha_step: float
    files: dict[str, int]

    @property
    def growth(self) -> float:
        """Growth of the memory from the first sample to the last, as a share."""
        return self.megabytes[-1] / self.megabytes[0] - 1


class _Memory(lightning.Callback):
    def __init__(self, every: int) -> None:
        self.every, self.samples = every, []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        if module.phase == "search" and not module.step_count % self.every:
            self.samples.append((resident_bytes() or 0) / 2**20)


def measure(folder: Path, steps: int = 5_000) -> LongSearch:
    """Search in `folder` for so many steps."""
    memory = _Memory(steps // SAMPLES)
    search = {**KEYS["search"], "steps": steps}
    run = {**KEYS["run"], "checkpoint_every": max(2, steps // 25)}
    started = time.monotonic()
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2)
    keys = {**KEYS, "search": search, "run": run}
    mc.search(space, TASK, out=folder, quiet=True, callbacks=[memory], **keys)
    files: dict[str, int] = {}
    for file in folder.rglob("*"):
        if file.is_file():
            name = file.relative_to(folder).parts[0]
            files[name] = files.get(name, 0) + file.stat().st_size
    lines = (folder / "alphas.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] for line in lines)
    mean = sum(map(len, lines)) / len(lines)
    return LongSearch(steps, time.monotonic() - started, tuple(memory.samples), mean, files)
