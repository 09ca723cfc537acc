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
from manticore.nas.cost import CostTable
from manticore.nas.discretize import discretize
from manticore.nas.expected_cost import CostPenalty
from manticore.nas.selection.solver import Bound
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler
from manticore.training.callbacks import AlphaRecord
from manticore.training.modules import FinetuneModule, TrainModule
from manticore.training.options import LoopOptions
from manticore.training.search_module import SearchModule
from manticore.training.trainer import Hardware, fit
from manticore.utils.transfers import numbers_on
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


PENALTY = {"entropy_weight": 0.1, "entropy_schedule": "stagewise"}

CASES: dict[str, Any] = {
    "darts": {"strategy": "darts", **PENALTY},
    "darts with sampled paths": {"strategy": "darts", "sample_paths": True},
    "uniform": {"strategy": "uniform"},
    "single level": {"strategy": "simultaneous"},
    "fine-tuning": None,
}
OTHERS: dict[str, Any] = {
    name: {"strategy": name, **PENALTY} for name in ("drnas", "gdas", "reinmax", "gaea", "sdarts", "sandwich")
}
CASES_AND_OTHERS = CASES | OTHERS


def counted(kind: str, folder: Path, micro_batch_size: int = 0) -> tuple[DeviceReads, int]:
    """The counts of steps 4 and 5 of a training whose records are at steps 3 and 6, and their number."""
    supernet = shipped_kinds(HeadSpec("classification", 61, 5))
    loop = LoopOptions(log_every=3, micro_batch_size=micro_batch_size)
    training: TrainModule
    options = CASES_AND_OTHERS[kind]
    if options is None:
        hybrid: PreTrainedModel = discretize(supernet, ["gpt-neo", "mamba"])
        training = FinetuneModule(hybrid, steps=400, loop=loop)
    else:
        training = SearchModule(supernet, steps=400, warmup_steps=2, batch_size=4, loop=loop, **options)
        training.reads_ahead = True
    training.until = 6
    count = Count(3, 5)
    streams = {name: BatchSampler(examples(40, seed), 4, seed, collate) for seed, name in enumerate(training.streams)}
    callbacks = [AlphaRecord(folder / "alphas.jsonl"), count] if options is not None else [count]
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


@pytest.mark.parametrize("kind", OTHERS)
def test_steps_of_other_strategies_read_nothing(kind: str, tmp_path: Path) -> None:
    mode, _ = counted(kind, tmp_path)
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


def test_numbers_that_are_copied_to_the_device_are_counted() -> None:
    layer = torch.nn.Linear(2, 3)
    with DeviceReads(layer) as mode:
        weight = layer.weight.detach()
        weight[[0, 2]].new_tensor([1.0])
        weight[weight > 0], torch.multinomial(weight.abs(), 1)
        torch.tensor([1.0], device=weight.device)
        numbers_on([1.0], weight.device, weight.dtype), weight[0, 1:], weight[torch.tensor([0, 2])]
    assert sum(mode.reads.values()) == 5


def test_costs_and_shared_choices_read_nothing() -> None:
    """The penalty of expected costs with its gradient, and mixing weights of stages that share their choice."""
    torch.manual_seed(0)
    parts = [load(ComponentSpec(name), SIZES) for name in ("gpt-neo", "mamba")]
    space = SearchSpace(["gpt-neo", "mamba"], stages=4, shared_stages=[[1, 3], [2, 4]])
    net = Supernet(parts, space, "gpt-neo", HeadSpec("classification", 61, 5))
    table = CostTable(((1.0, 3.0),) * 4, once={1: 2.0})
    penalty = CostPenalty([Bound(table, most=1.0)], net.choices, 1.0)
    with DeviceReads(net) as mode:
        penalty(net.weights()).backward()
        assert net.alpha_table.shape == (4, 2)
    assert not mode.reads
    assert net.alpha.grad is not None
