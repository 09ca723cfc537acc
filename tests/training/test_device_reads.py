"""A training step reads nothing from the device between two records of the loggers; on a GPU each read is a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from rich.console import Console
from transformers import PreTrainedModel

from manticore import kernels
from manticore.components import BlockSize, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler
from manticore.training.callbacks import AlphaRecord
from manticore.training.modules import FinetuneModule, TrainModule
from manticore.training.options import LoopOptions
from manticore.training.search_module import SearchModule
from manticore.training.trainer import Hardware, fit
from tests.helpers.device_reads import DeviceReads, mark
from tests.helpers.search_module import collate, examples

SIZES = Scratch(BlockSize(16, 4, heads=2), BlockSize(16, 4), 61, 32)
CALLS = 1800
"""Largest number of calls of aten in a DARTS step at two stages with four layers of each component."""


def shipped_kinds(head: HeadSpec) -> Supernet:
    """A supernet of a GPT-Neo and a Mamba, the kinds of the pair that is shipped."""
    torch.manual_seed(0)
    parts = [load(ComponentSpec(name), SIZES) for name in ("gpt-neo", "mamba")]
    return Supernet(parts, SearchSpace(["gpt-neo", "mamba"], stages=2), "gpt-neo", head)


class Count(lightning.Callback):
    """Counts from the transfer of a batch to that of the next one, over the steps between two records."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.mode: DeviceReads | None = None
        self.counted = 0

    def on_train_batch_start(self, trainer: Any, module: TrainModule, batch: Any, index: int) -> None:
        mark([batch])
        if self.mode is None and module.step_count == self.first:
            self.mode = DeviceReads(module)
            self.mode.__enter__()
        elif self.mode is not None and module.step_count == self.last:
            self.mode.__exit__(None, None, None)
            self.counted = self.last - self.first


CASES: dict[str, Any] = {
    "darts": {"strategy": "darts"},
    "darts with sampled paths": {"strategy": "darts", "sample_paths": True},
    "uniform": {"strategy": "uniform"},
    "single level": {"strategy": "simultaneous"},
    "fine-tuning": None,
}


def counted(kind: str, folder: Path, micro_batch_size: int = 0) -> tuple[DeviceReads, int]:
    """The counts of steps 4 and 5 of a training whose records are at steps 3 and 6, and their number."""
    supernet = shipped_kinds(HeadSpec("classification", 61, 5))
    loop = LoopOptions(log_every=3, micro_batch_size=micro_batch_size)
    training: TrainModule
    if CASES[kind] is None:
        hybrid: PreTrainedModel = discretize(supernet, ["gpt-neo", "mamba"])
        training = FinetuneModule(hybrid, steps=400, loop=loop)
    else:
        training = SearchModule(supernet, steps=400, warmup_steps=2, batch_size=4, loop=loop, **CASES[kind])
        training.reads_ahead = True
    training.until = 6
    count = Count(3, 5)
    streams = {name: BatchSampler(examples(40, seed), 4, seed, collate) for seed, name in enumerate(training.streams)}
    callbacks = [AlphaRecord(folder / "alphas.jsonl"), count] if CASES[kind] is not None else [count]
    (folder / "run").mkdir()
    kernels.install()
    fit(training, streams, "search", folder / "run", Hardware("cpu", "32-true", 100), Console(quiet=True), callbacks)
    assert count.mode is not None
    assert count.counted
    return count.mode, count.counted


@pytest.mark.parametrize("micro_batch_size", [0, 2])
@pytest.mark.parametrize("kind", CASES)
def test_a_step_reads_nothing_from_the_device(kind: str, micro_batch_size: int, tmp_path: Path) -> None:
    mode, _ = counted(kind, tmp_path, micro_batch_size)
    assert not mode.reads


def test_a_darts_step_has_few_calls_of_torch(tmp_path: Path) -> None:
    mode, steps = counted("darts", tmp_path)
    assert mode.calls / steps <= CALLS


def test_a_read_is_counted() -> None:
    layer = torch.nn.Linear(2, 1)
    with DeviceReads(layer) as mode:
        out = layer(torch.ones(1, 2)).detach()
        float(out)
        out.tolist()
        bool((out > 0).any())
        torch.rand(()).item()  # of the host
    assert sum(mode.reads.values()) == 3
