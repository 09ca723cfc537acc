"""Successive halving on losses that are known: rounds, options, and paths whose difference is noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest

from manticore.errors import ManticoreError, UnknownName
from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection import Difference, ListedScores
from manticore.nas.strategies import Halving, build_strategy
from manticore.nas.strategies.halving import rounds

CHOICES = Choices.free(["a", "b"], 3)
PATHS = list(CHOICES.paths())


class KnownLosses:
    """A trainer whose paths are worse by 0.1 for each position in their list; records the steps of each path."""

    def __init__(self, std_error: float) -> None:
        self.std_error = std_error
        self.steps: dict[PathNames, int] = defaultdict(int)
        self.compared: set[int] = set()

    def loss(self, path: Sequence[str], steps: int) -> float:
        assert steps > self.steps[tuple(path)]
        self.steps[tuple(path)] = steps
        return PATHS.index(tuple(path)) / 10

    def difference(self, path: PathNames, rival: PathNames, steps: int) -> Difference | None:
        assert self.steps[path] == self.steps[rival] == steps
        self.compared.add(steps)
        return Difference((PATHS.index(path) - PATHS.index(rival)) / 10, self.std_error)


def search(strategy: Halving, std_error: float, steps: int = 480) -> tuple[KnownLosses, ListedScores]:
    trainer = KnownLosses(std_error)
    scores = strategy.search(CHOICES, "a", PATHS, steps, trainer)
    assert isinstance(scores, ListedScores)
    return trainer, scores


def test_halves_are_dropped_where_differences_are_clear() -> None:
    trainer, scores = search(Halving(), 0.001)
    plan = Halving().plan(CHOICES, PATHS, 480)
    assert list(trainer.steps.values()) == [140, 140, 60, 60, 20, 20, 20, 20]
    assert plan.longest == 140
    assert sum(trainer.steps.values()) - 140 == plan.discarded == 340
    assert sorted(PATHS, key=scores.score, reverse=True) == PATHS


@pytest.mark.parametrize(
    ("std_error", "expected"),
    [
        (0.06, [140, 140, 60, 60, 20, 20, 20, 20]),  # 2 standard errors separate the best from the third
        (0.2, [100, 100, 100, 60, 20, 20, 20, 20]),  # from the fifth
        (10.0, [70, 70, 70, 70, 44, 44, 20, 20]),  # nothing: three quarters go on
    ],
)
def test_paths_that_may_be_the_best_go_on_within_the_steps_of_the_plan(std_error: float, expected: list[int]) -> None:
    trainer, scores = search(Halving(), std_error)
    plan, steps = Halving().plan(CHOICES, PATHS, 480), trainer.steps
    assert list(steps.values()) == expected
    longest = max(steps.values())
    assert plan.discarded - len(PATHS) * 3 < sum(steps.values()) - longest <= plan.discarded
    assert max(PATHS, key=scores.score) == PATHS[0]
    assert search(Halving(margin=0.0), std_error)[0].steps == search(Halving(), 0.0)[0].steps


def test_options_lengthen_the_first_round() -> None:
    assert rounds(8, 480) == [(8, 20), (4, 40), (2, 80)]
    assert rounds(8, 480, 1) == [(8, 60)]
    assert rounds(8, 480, 2) == [(8, 30), (3, 80)]
    assert rounds(8, 480, first_share=0.8) == [(8, 48), (4, 12), (2, 24)]
    assert rounds(2, 12, 3) == [(2, 2), (2, 2), (2, 2)]
    with pytest.raises(ManticoreError, match=r"set first_share below 0\.99"):
        rounds(8, 480, first_share=0.99)
    trainer, _ = search(Halving(rounds=1), 0.001)
    assert set(trainer.steps.values()) == {60}
    assert not trainer.compared, "the last decision is by rank"


def test_options_are_checked() -> None:
    assert build_strategy("halving", {"rounds": 2, "margin": 1}) == Halving(rounds=2, margin=1.0)
    with pytest.raises(UnknownName, match="Did you mean 'rounds'"):
        build_strategy("halving", {"round": 2})
    with pytest.raises(ManticoreError, match="first_share must be a number of at least 0 and below 1"):
        build_strategy("halving", {"first_share": 1.0})
    with pytest.raises(ManticoreError, match="strategy 'darts' has no options"):
        build_strategy("darts", {"rounds": 2})
