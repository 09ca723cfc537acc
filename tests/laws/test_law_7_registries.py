"""Law 7 for whole runs, with every strategy, selector, adapter and kind of task that is registered, in every phase.

What is registered later is tested without a change of this file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import manticore as mc
from manticore.adapters.catalog import adapters
from manticore.errors import ManticoreError
from manticore.experiment.phases import FINETUNE, RANDOM_PATH, UNIFORM_MIXTURE
from manticore.modeling.heads import HEADS
from manticore.nas.selection import selectors
from manticore.nas.strategies import strategies
from manticore.tasks.catalog import tasks
from manticore.tasks.dataset import Example, Examples, Splits, halves, pad_batch
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary
from tests.helpers.interrupted_runs import assert_same_runs, killed_after, recorded

pytestmark = pytest.mark.e2e

NAME = "law-7"
SIZES = {"train": 32, "val": 8, "test": 8}
LETTERS = 5
SCRATCH: dict[str, Any] = {
    "attention": {"width": 16, "layers": 2, "heads": 2},
    "recurrent": {"width": 12, "layers": 2, "state_size": 4},
}


class KindTask(Task):
    """Random examples with the labels that the head `kind` predicts: one a token, a sequence or a pair."""

    def __init__(self, kind: str) -> None:
        super().__init__(NAME, Vocabulary.plain(LETTERS), map(str, range(LETTERS)), 8, sizes=SIZES)
        self.kind = kind

    def build(self) -> Splits:
        rng = np.random.default_rng(0)
        inputs = iter(random.Random(0).sample(range(LETTERS**8), sum(SIZES.values())))
        parts = []
        for size in SIZES.values():
            drawn = [next(inputs) for _ in range(size)]
            ids = [[number // LETTERS**place % LETTERS for place in range(8)] for number in drawn]
            labels = [rng.integers(LETTERS, size=8) if self.per_token else int(rng.integers(2)) for _ in ids]
            parts.append(Examples.pack(list(zip(ids, labels, strict=True))))  # type: ignore[arg-type]
        train, train_arch = halves(parts[0], 0)
        return Splits(train, train_arch, parts[1], parts[2])

    def origin(self) -> str:
        return "random"

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        if self.sequences == 1:
            return super().collate(batch)
        width = len(batch[0][0]) // self.sequences
        rows = [
            (ids[width * place : width * (place + 1)], label) for place in range(self.sequences) for ids, label in batch
        ]
        padded = pad_batch(rows, self.vocabulary.pad, self.per_token)
        return {**padded, "labels": padded["labels"][: len(batch)]}


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    """A task for each kind, which the runs select by name."""
    for kind in HEADS:
        tasks.register(f"{NAME}-{kind}")(lambda options, kind=kind: KindTask(kind))
    yield
    for kind in HEADS:
        tasks._items.pop(f"{NAME}-{kind}")


def search(out: Path, kind: str = "classification", **options: Any) -> mc.Result:
    """A search of a few steps; `out` is resumed if it holds a run."""
    keys: dict[str, Any] = {
        "scratch": SCRATCH,
        "run": {"checkpoint_every": 2, "log_every": 1, "device": "cpu"},
        "baselines": {"components": False, "uniform": False, "random": False},
        **options,
    }
    keys["search"] = {"steps": 6, "warmup_steps": 2, "batch_size": 4, **options.get("search", {})}
    keys["finetune"] = {"steps": 3, "batch_size": 4, **options.get("finetune", {})}
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
    return mc.search(space, f"{NAME}-{kind}", out=out, resume=out.exists(), quiet=True, **keys)


def check(tmp_path: Path, after: str = "", **options: Any) -> None:
    """A run that is ended half-way, or after the file `after`, equals an uninterrupted one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with recorded(whole) as events:
        try:
            search(whole, **options)
        except ManticoreError as error:
            pytest.skip(str(error))
    last = events.names.index(after) + 1 if after else len(events.names) // 2
    assert killed_after(parts, last, lambda: search(parts, **options))
    search(parts, **options)
    assert_same_runs(parts, whole)


@pytest.mark.parametrize("strategy", list(strategies))
def test_every_strategy_resumes(strategy: str, tmp_path: Path) -> None:
    check(tmp_path, search={"strategy": strategy, "steps": 10})


@pytest.mark.parametrize("selector", list(selectors))
def test_every_selector_selects_the_same_path_after_a_search_that_is_read_again(selector: str, tmp_path: Path) -> None:
    check(tmp_path, after="checkpoints/search.json", selection={"selector": selector})


@pytest.mark.parametrize("adapter", list(adapters))
def test_every_adapter_resumes(adapter: str, tmp_path: Path) -> None:
    check(tmp_path, adapter=adapter)  # SaRA trains one weight of dt_proj, and after half of the steps none


@pytest.mark.parametrize("kind", list(HEADS))
def test_every_kind_of_task_resumes(kind: str, tmp_path: Path) -> None:
    check(tmp_path, kind=kind)


def test_every_phase_resumes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    baselines = {"baselines": {"components": True, "uniform": True, "random": True}}
    with recorded(whole) as events:
        search(whole, **baselines)
    phases = {name.rpartition(" step ")[0] for name in events.names if " step " in name}
    assert phases >= {"search", FINETUNE, UNIFORM_MIXTURE, RANDOM_PATH}
    assert len(phases) == 6, "each component alone, too"
    kills = 0
    while killed_after(parts, 9, lambda: search(parts, **baselines)):
        kills += 1
    assert kills > len(phases)
    assert_same_runs(parts, whole)
