"""What each strategy does in a step, seen from a search that only writes down what it was asked."""

from __future__ import annotations

import pytest
import torch

from manticore.errors import UnknownName
from manticore.nas.strategies import Darts, Simultaneous, TrainingFree, strategies

Batch = dict[str, torch.Tensor]


class Notebook:
    """A search whose moves are notes."""

    def __init__(self, warming_up: bool) -> None:
        self.warming_up = warming_up
        self.notes: list[tuple[str, int]] = []

    def _note(self, move: str, batch: Batch) -> float:
        self.notes.append((move, int(batch["labels"])))
        return float(len(self.notes))

    def weight_step(self, batch: Batch) -> float:
        return self._note("weights", batch)

    def alpha_step(self, batch: Batch) -> float:
        return self._note("alphas", batch)

    def joint_step(self, batch: Batch) -> float:
        return self._note("both", batch)


BATCHES = {"weights": {"labels": torch.tensor(1)}, "alphas": {"labels": torch.tensor(2)}}


def test_darts_alternates_on_two_splits() -> None:
    search = Notebook(warming_up=False)
    assert Darts().step(search, BATCHES) == {"alpha_loss": 1.0, "loss": 2.0}
    assert search.notes == [("alphas", 2), ("weights", 1)]
    assert Darts.streams == {"weights": ("train",), "alphas": ("train_arch",)}


def test_simultaneous_moves_both_on_one_batch_of_both_splits() -> None:
    search = Notebook(warming_up=False)
    assert Simultaneous().step(search, BATCHES) == {"alpha_loss": 1.0, "loss": 1.0}
    assert search.notes == [("both", 1)]
    assert Simultaneous.streams == {"weights": ("train", "train_arch")}


@pytest.mark.parametrize("name", [name for name in strategies if not issubclass(strategies[name], TrainingFree)])
def test_while_warming_up_only_weights_move(name: str) -> None:
    search = Notebook(warming_up=True)
    assert strategies[name]().step(search, BATCHES) == {"loss": 1.0}
    assert search.notes == [("weights", 1)]


@pytest.mark.parametrize("name", list(strategies))
def test_no_strategy_reads_what_models_are_chosen_or_judged_on(name: str) -> None:
    held = strategies[name].streams
    assert {split for splits in held.values() for split in splits} <= {"train", "train_arch"}


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'darts'"):
        strategies["dart"]
