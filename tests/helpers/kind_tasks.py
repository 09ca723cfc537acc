"""A task for each kind that is registered: random examples with the labels that its head predicts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import manticore as mc
from manticore.modeling.heads import HEADS
from manticore.tasks.catalog import tasks
from manticore.tasks.dataset import Example, Examples, Splits, halves, pad_batch
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary

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


@contextmanager
def kind_tasks() -> Iterator[None]:
    """A task for each kind, which the runs in the block select by name."""
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
