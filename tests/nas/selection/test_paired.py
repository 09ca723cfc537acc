"""Paired differences of losses, which paths they leave, and the runner-up."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from manticore.nas.choices import PathNames
from manticore.nas.selection import (
    Budget,
    Difference,
    ListedScores,
    SelectionContext,
    StageScoreTable,
    loss_difference,
    runner_up,
    selectors,
    survivors,
)
from manticore.utils.statistics import mean_interval, student_quantile
from tests.helpers.ops import op_supernet


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(5, 3, 50)
    a, b = (np.stack([shared + rng.normal(shift, 0.1, 50), np.ones(50)], 1) for shift in (0.1, 0.0))
    difference = loss_difference(a, b)
    assert difference is not None
    interval = mean_interval((a - b)[:, 0].tolist())
    assert difference.mean == pytest.approx(interval.mean)
    assert interval.margin is not None
    assert difference.std_error == pytest.approx(interval.margin / student_quantile(0.975, 49))
    assert difference.std_error < 0.03 < shared.std() / math.sqrt(50), "without pairs it would be as wide as the losses"
    assert not difference.is_noise
    same = loss_difference(a, a)
    assert same == Difference(0.0, 0.0)


def test_a_difference_that_cannot_be_paired() -> None:
    a = np.array([[1.0, 2], [3.0, 1]])
    assert loss_difference(a, a[:1]) is None
    assert loss_difference(a, np.array([[1.0, 1], [3.0, 2]])) is None
    assert loss_difference(a[:1], a[:1]) is None
    assert loss_difference(a, np.array([[np.inf, 2], [3.0, 1]])) is None


RANKED: list[PathNames] = [(name,) for name in "abcdefgh"]


def gap(path: PathNames, best: PathNames) -> Difference:
    """A path is worse by 0.1 for each rank, with a standard error of 0.25."""
    return Difference(0.1 * (RANKED.index(path) - RANKED.index(best)), 0.25)


@pytest.mark.parametrize(("margin", "kept"), [(0.0, "abcd"), (1.0, "abcd"), (1.9, "abcde"), (3.0, "abcdef")])
def test_a_path_is_dropped_if_it_is_clearly_worse_than_the_best(margin: float, kept: str) -> None:
    assert survivors(RANKED, 4, gap, margin) == [(name,) for name in kept], "at most three quarters go on"


def test_without_a_difference_the_rank_decides() -> None:
    assert survivors(RANKED, 4, lambda path, best: None) == RANKED[:4]
    assert survivors(RANKED[:2], 1, gap, 9.0) == RANKED[:1], "the last of two decisions is by rank"


def test_the_runner_up_is_the_second_best_path() -> None:
    net, rng = op_supernet("gpt2", "mamba"), random.Random(0)
    scores = StageScoreTable(net.candidates, [[rng.gauss(0, 1) for _ in net.candidates] for _ in range(3)])
    path = tuple(scores.best(net, Budget()))
    ranked = sorted(net.choices.paths(), key=scores.score, reverse=True)
    ranked = [each for each in ranked if set(each) != {"skip"}]
    assert (path, runner_up(scores, net, Budget(), path)) == (ranked[0], ranked[1])
    listed = ListedScores({ranked[3]: 1.0, ranked[2]: 0.5})
    assert runner_up(listed, net, Budget(), ranked[3]) == ranked[2]
    assert runner_up(ListedScores({path: 1.0}), net, Budget(), path) is None


def test_beam_search_keeps_more_paths_that_may_be_the_best() -> None:
    net, rng = op_supernet("gpt2", "mamba", stages=4), random.Random(1)
    losses = {path: rng.gauss(0, 1) for path in net.choices.paths()}

    def tried(std_error: float) -> int:
        def difference(path: PathNames, best: PathNames) -> Difference:
            return Difference(losses[path] - losses[best], std_error)

        context = SelectionContext(Budget(), lambda path: losses[tuple(path)], random.Random(0), difference)
        scores = selectors["beam"](net, context)
        assert isinstance(scores, ListedScores)
        return len(scores.values)

    assert tried(0.0) < tried(100.0)
