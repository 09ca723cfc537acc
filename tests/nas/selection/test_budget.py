"""The best path of a supernet within limits is the best of all its paths, tried one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from operator import le
from typing import Any

import pytest

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.choices import skips_all
from manticore.nas.cost import FlopCounter, PathCosts
from manticore.nas.resources import Limit, Resource
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


RESOURCES = {
    "parameters": ("parameters",),
    "FLOPs": ("prefill_flops",),
    "two": ("parameters", "cache_bytes@40x2"),
    "three": ("weight_bytes@bfloat16", "decode_flops@40", "cache_bytes@40"),
}


@pytest.mark.parametrize("names", RESOURCES.values(), ids=RESOURCES)
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_brute_force(net: Supernet, names: tuple[str, ...], seed: int) -> None:
    rng = random.Random(seed)
    scores = [[rng.gauss(0, 1) for _ in net.candidates] for _ in range(net.space.stages)]
    costs = PathCosts(net, LENGTH)
    resources = [Resource.parse(name).at(LENGTH) for name in names]
    by_path = {
        path: tuple(costs.cost(path, resource) for resource in resources)
        for path in net.choices.paths()
        if not skips_all(path)
    }

    def score(path: tuple[str, ...]) -> float:
        return sum(row[net.candidates.index(choice)] for row, choice in zip(scores, path, strict=True))

    for limits in rng.sample([*by_path.values()], min(8, len(by_path))):
        allowed = [path for path, values in by_path.items() if all(map(le, values, limits))]
        budget = Budget.of(LENGTH, **dict(zip(names, limits, strict=True)))
        chosen = tuple(best_path_within(net, scores, budget))
        net.choices.check(chosen)
        assert budget.allows(costs, chosen)
        assert score(chosen) == pytest.approx(max(map(score, allowed)))
    assert tuple(best_path_within(net, scores, Budget())) == max(by_path, key=score)
    smallest = tuple(min(column) for column in zip(*by_path.values(), strict=True))
    below = Budget.of(LENGTH, **{name: value - 1 for name, value in zip(names, smallest, strict=True)})
    with pytest.raises(ManticoreError, match=r"no path has .* of at most .*; the nearest, .*, has ") as refused:
        best_path_within(net, scores, below)
    named = str(refused.value).split("the nearest, ")[1].split(", has")[0].split(" · ")

    def excess(path: tuple[str, ...]) -> float:
        return max(value / (least - 1) for value, least in zip(by_path[path], smallest, strict=True))

    assert excess(tuple(named)) == pytest.approx(min(map(excess, by_path)))
    for resource in resources:
        value = by_path[tuple(named)][resources.index(resource)]
        assert f"{resource} {resource.format(value)}" in str(refused.value)


def test_a_minimum_and_a_maximum_of_one_resource(net: Supernet) -> None:
    costs = PathCosts(net, LENGTH)
    ordered = sorted({costs.parameters(path) for path in net.choices.paths() if not skips_all(path)})
    least, most = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    budget = Budget(
        (Limit(Resource("parameters"), most, "most"),), (Limit(Resource("parameters"), least, "least"),), LENGTH
    )
    for sign in (1, -1):
        scores = [[sign * cost for cost in row] for row in costs.table(Resource("parameters")).stages]
        chosen = best_path_within(net, scores, budget)
        assert least <= costs.parameters(chosen) <= most
        best = [path for path in net.choices.paths() if least <= costs.parameters(path) <= most]

        def score(path: Sequence[str], scores: list[list[float]] = scores) -> float:
            return sum(row[net.candidates.index(name)] for row, name in zip(scores, path, strict=True))

        assert score(chosen) == pytest.approx(max(map(score, best)))


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
