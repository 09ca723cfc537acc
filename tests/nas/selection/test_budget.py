"""The best path of a supernet within a budget is the best of all its paths, tried one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.cost import FlopCounter, PathCosts
from manticore.nas.selection import Budget, best_path_within
from manticore.nas.supernet import Supernet
from tests.helpers.ops import ATTENTION, CONV, RESTRICTED, op_supernet

LENGTH = 17

SPACES: dict[str, dict[str, Any]] = {
    "all paths": {"stages": 3},
    "ops, masks, cuts and shared choices": RESTRICTED,
    "a donor in one stage": {"stages": 3, "stage_candidates": {1: ["base", CONV], 2: [ATTENTION, "donor"]}},
}


@pytest.fixture(scope="module", params=SPACES)
def net(request: pytest.FixtureRequest) -> Supernet:
    """GPT-2 and GPT-Neo: the donor has a table of positions, for which a path pays once."""
    return op_supernet("gpt2", "gpt_neo", **{**SPACES[request.param], "cuts": {}})


@pytest.mark.parametrize("kind", ["max_parameters", "max_flops"])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_brute_force(net: Supernet, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    scores = [[rng.gauss(0, 1) for _ in net.candidates] for _ in range(net.space.stages)]
    counter = FlopCounter(net, LENGTH)
    costs = {
        path: PathCosts(net, LENGTH).parameters(path) if kind == "max_parameters" else counter.forward(path)
        for path in net.choices.paths()
    }

    def score(path: tuple[str, ...]) -> float:
        return sum(row[net.candidates.index(choice)] for row, choice in zip(scores, path, strict=True))

    for limit in sorted(costs.values())[:: max(1, len(costs) // 6)]:
        best = max((path for path, cost in costs.items() if cost <= limit), key=score)
        chosen = tuple(best_path_within(net, scores, Budget(**{kind: limit}, length=LENGTH)))
        net.choices.check(chosen)
        assert costs[chosen] <= limit
        assert score(chosen) == pytest.approx(score(best))
    assert tuple(best_path_within(net, scores, Budget())) == max(costs, key=score)
    smallest, unit = min(costs.values()), {"max_parameters": "parameters", "max_flops": "FLOPs per token"}[kind]
    message = (
        rf"the budget of {smallest - 1:,.0f} {unit} \(selection.{kind}\): the smallest, .*, needs {smallest:,.0f}$"
    )
    with pytest.raises(ManticoreError, match=message) as refused:
        best_path_within(net, scores, Budget(**{kind: smallest - 1}, length=LENGTH))
    named = str(refused.value).split("the smallest, ")[1].split(", needs")[0].split(" · ")
    assert costs[tuple(named)] == smallest


def test_an_op_costs_what_its_modules_have_and_what_it_says() -> None:
    net, width = op_supernet(skip=True), 32
    counter = FlopCounter(net, LENGTH)
    kernel = 4
    skipped = [SKIP] * 3
    more = {
        CONV: (width * (kernel + 1) + 2 * width, 2 * width * kernel),
        ATTENTION: (4 * width * width + 4 * width, 8 * width * width + 4 * width * (LENGTH + 1) / 2),
    }
    for name, (parameters, flops) in more.items():
        path = [name, SKIP, SKIP]
        assert PathCosts(net, LENGTH).parameters(path) - PathCosts(net, LENGTH).parameters(skipped) == parameters
        assert counter.forward(path) - counter.forward(skipped) == flops
