"""Scores of paths: the best path within a budget is the best of all paths, tried one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from manticore.errors import ManticoreError
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget, ChainScores, ListedScores, StageScoreTable
from manticore.nas.selection.scores import PathScores, enumerate_scores
from manticore.nas.supernet import Supernet
from tests.helpers.ops import ATTENTION, CONV, RESTRICTED, op_supernet

LENGTH = 17

SPACES: dict[str, dict[str, Any]] = {
    "all paths": {"stages": 3},
    "ops, masks, cuts and shared choices": RESTRICTED,
    "a donor in one stage": {"stages": 3, "stage_candidates": {1: ["base", CONV], 2: [ATTENTION, "donor"]}},
    "stages that choose together, not side by side": {"stages": 3, "shared_stages": [[1, 3]]},
}


@pytest.fixture(scope="module", params=SPACES)
def net(request: pytest.FixtureRequest) -> Supernet:
    """GPT-2 and GPT-Neo: the donor has a table of positions, for which a path pays once."""
    return op_supernet("gpt2", "gpt_neo", **{**SPACES[request.param], "cuts": {}})


def draw(kind: str, net: Supernet, rng: random.Random) -> PathScores:
    count, stages = len(net.candidates), net.space.stages

    def table(rows: int) -> list[list[float]]:
        return [[rng.gauss(0, 1) for _ in range(count)] for _ in range(rows)]

    if kind == "stages":
        return StageScoreTable(net.candidates, table(stages))
    if kind == "chain":
        return ChainScores(net.candidates, table(stages), [table(count) for _ in range(stages - 1)])
    return ListedScores({path: rng.gauss(0, 1) for path in net.choices.paths()})


@pytest.mark.parametrize("kind", ["stages", "chain", "listed"])
@pytest.mark.parametrize("limited", ["parameters", "prefill_flops"])
def test_the_best_path_is_the_best_of_all(net: Supernet, kind: str, limited: str) -> None:
    scores = draw(kind, net, random.Random(kind + limited))
    costs = PathCosts(net, LENGTH)
    cost_of = {path: costs.cost(path, Resource(limited)) for path in net.choices.paths()}
    by_path = enumerate_scores(scores, net.choices)
    assert scores.score(scores.best(net, Budget())) == pytest.approx(max(by_path.values()))
    for limit in sorted(cost_of.values())[:: max(1, len(cost_of) // 6)]:
        chosen = tuple(scores.best(net, Budget.of(LENGTH, **{limited: limit})))
        net.choices.check(chosen)
        assert cost_of[chosen] <= limit
        best = max(score for path, score in by_path.items() if cost_of[path] <= limit)
        assert by_path[chosen] == pytest.approx(best)
    with pytest.raises(ManticoreError, match="at most"):
        scores.best(net, Budget.of(LENGTH, **{limited: min(cost_of.values()) - 1}))


def test_a_path_that_was_not_scored_is_not_chosen() -> None:
    net = op_supernet("gpt2", "gpt_neo", stages=2)
    paths = list(net.choices.paths())
    scores = ListedScores({paths[1]: -3.0, paths[2]: -2.0})
    assert tuple(scores.best(net, Budget())) == paths[2]
    assert scores.score(paths[0]) == float("-inf")
