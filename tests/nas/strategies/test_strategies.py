"""The steps of each strategy, and the batches of these steps, as recorded by a search without a model."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from manticore.errors import UnknownName
from manticore.nas.choices import Choices
from manticore.nas.strategies import Darts, PathStrategy, Simultaneous, TrainingFree, strategies

Batch = dict[str, torch.Tensor]


class RecordingSearch:
    """A search that records its steps and the labels of their batches."""

    def __init__(self, warming_up: bool) -> None:
        self.warming_up = warming_up
        self.steps: list[tuple[str, int]] = []
        self.memory: dict[str, list[float]] = {}
        alphas = [torch.nn.Parameter(torch.zeros(3, 2))]
        self.net = SimpleNamespace(choices=Choices.free(["a", "b"], 3), alphas=alphas, progress=0.0, base="a")

    def record(self, kind: str, batch: Batch) -> float:
        self.steps.append((kind, int(batch["labels"])))
        return float(len(self.steps))

    def path_cost(self, path: Sequence[str]) -> float:
        return float(path.count("a"))

    def weight_step(self, batch: Batch, paths: Sequence[Sequence[str] | None] | None = None) -> float:
        for path in paths or ():
            if path is not None:
                self.net.choices.check(path)
        return self.record("weights", batch)

    def num_examples(self, batch: Batch) -> int:
        return len(batch["labels"])

    def example_step(self, batch: Batch, paths_BS: torch.Tensor) -> float:
        for path in paths_BS.tolist():
            self.net.choices.check([self.net.choices.candidates[index] for index in path])
        return self.record("weights", batch)

    def alpha_step(self, batch: Batch) -> float:
        return self.record("alphas", batch)

    def joint_step(self, batch: Batch) -> float:
        return self.record("both", batch)


BATCHES = {"weights": {"labels": torch.tensor([1])}, "alphas": {"labels": torch.tensor([2])}}


def test_darts_alternates_alpha_and_weight_steps_on_two_splits() -> None:
    search = RecordingSearch(warming_up=False)
    assert Darts().step(search, BATCHES) == {"alpha_loss": 1.0, "loss": 2.0}
    assert search.steps == [("alphas", 2), ("weights", 1)]
    assert Darts.streams == {"weights": ("train",), "alphas": ("train_arch",)}


def test_simultaneous_takes_joint_steps_on_both_splits() -> None:
    search = RecordingSearch(warming_up=False)
    assert Simultaneous().step(search, BATCHES) == {"alpha_loss": 1.0, "loss": 1.0}
    assert search.steps == [("both", 1)]
    assert Simultaneous.streams == {"weights": ("train", "train_arch")}


STEPWISE = [name for name in strategies if not issubclass(strategies[name], TrainingFree | PathStrategy)]


@pytest.mark.parametrize("name", STEPWISE)
def test_warm_up_has_weight_steps_only(name: str) -> None:
    search = RecordingSearch(warming_up=True)
    assert strategies[name]().step(search, BATCHES) == {"loss": 1.0}
    assert search.steps == [("weights", 1)]


@pytest.mark.parametrize("name", list(strategies))
def test_no_strategy_reads_the_validation_or_the_test_split(name: str) -> None:
    streams = strategies[name].streams
    assert {split for splits in streams.values() for split in splits} <= {"train", "train_arch"}


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'darts'"):
        strategies["dart"]
