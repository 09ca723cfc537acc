"""Intervals of complexity: the paths in them, and how often each is drawn where losses are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from manticore.nas.choices import Choices
from manticore.nas.strategies import ComplexityBins
from manticore.nas.strategies.complexity_bins import MAX_PATHS, paths_by_cost, probabilities
from tests.helpers.search_module import module, net, train


class KnownLosses:
    """A search in which a path costs the number of its stages `b`, and has a loss that depends on cost and visits."""

    def __init__(self, choices: Choices, falls: Sequence[float]) -> None:
        self.net, self.falls = SimpleNamespace(choices=choices), falls
        self.memory: dict[str, list[float]] = {}
        self.visits = Counter[int]()

    def path_cost(self, path: Sequence[str]) -> float:
        return float(path.count("b"))

    def weight_step(self, batch: Any, paths: Sequence[Sequence[str]]) -> float:
        ((cost,),) = [[path.count("b") for path in paths]]
        self.visits[cost] += 1
        return 5.0 - self.falls[cost] * self.visits[cost]


def test_paths_are_sorted_by_their_operations() -> None:
    search: Any = KnownLosses(Choices.free(["a", "b"], 3), [])
    groups = paths_by_cost(search, 4)
    assert [len(group) for group in groups] == [1, 3, 3, 1]
    assert all({path.count("b") for path in group} == {count} for count, group in enumerate(groups))
    assert [len(group) for group in paths_by_cost(search, 2)] == [4, 4]
    assert len(paths_by_cost(KnownLosses(Choices.free(["a", "c"], 3), []), 4)) == 1  # type: ignore[arg-type]
    large: Any = KnownLosses(Choices.free(["a", "b", "c"], 9), [])
    groups = paths_by_cost(large, 3)
    assert sum(map(len, groups)) == MAX_PATHS
    assert ("a",) * 9 in groups[0]
    assert ("b",) * 9 in groups[-1]
    assert groups == paths_by_cost(large, 3), "the same sample in every step"


def test_probabilities_follow_what_the_losses_still_fall() -> None:
    assert probabilities([2, 0, 1], [0, 0, 0], [0, 0, 0], 0.25) == [0, 0.5, 0.5]
    shares = probabilities([9, 9, 9], [1.0, 2.0, 3.0], [1.3, 2.1, 2.0], 0.25)
    assert shares == pytest.approx([0.75 * 0.75 + 0.25 / 3, 0.75 * 0.25 + 0.25 / 3, 0.25 / 3])
    assert probabilities([9, 9], [1.0, 2.0], [1.0, 2.0], 0.25) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("falls", "expected"), [([0, 0, 0, 0], [0.25] * 4), ([0.01, 0, 0, 0.0], [0.8125, *[0.0625] * 3])]
)
def test_the_interval_that_still_learns_is_trained_most(falls: list[float], expected: list[float]) -> None:
    search: Any = KnownLosses(Choices.free(["a", "b"], 3), falls)
    torch.manual_seed(0)
    steps = 600
    for _ in range(steps):
        ComplexityBins().step(search, {"weights": {}})
    shares = [search.visits[cost] / steps for cost in range(4)]
    assert shares == pytest.approx(expected, abs=0.06)


def test_memory_is_part_of_the_training_state(tmp_path: Path) -> None:
    searching = module("complexity-bins", net(skip=True))
    train(searching, tmp_path)
    state = torch.load(tmp_path / "search.ckpt", weights_only=True)["manticore"]
    assert sum(searching.memory["visits"]) == searching.step_count
    assert sum(state["memory"]["visits"]) == state["step_count"] < searching.step_count
