"""The expected cost is the mean over drawn paths, and its penalty moves the mixing weights within the limits."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from manticore.config.loading import resolve
from manticore.errors import ManticoreError
from manticore.nas.cost import CostTable, PathCosts
from manticore.nas.expected_cost import CostPenalty, expected_cost
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget
from tests.helpers.ops import op_supernet


@pytest.mark.parametrize("space", [{}, {"shared_stages": [[1, 3]]}, {"stage_candidates": {1: ["base", "donor"]}}])
def test_it_is_the_mean_over_all_paths(space: dict[str, Any]) -> None:
    net = op_supernet("gpt2", "gpt_neo", skip=True, **space)  # the donor's table of positions counts once
    torch.manual_seed(0)
    with torch.no_grad():
        net.alpha.normal_()
    weights_SK, costs = net.weights().detach().double(), PathCosts(net, 17)
    for resource in (Resource("parameters"), Resource("cache_bytes", 17)):
        mean = 0.0
        rows = [group[0] for group in net.choices.decisions]
        for chosen in product(*(net.choices.allowed[row] for row in rows)):
            share = float(torch.stack([weights_SK[row, index] for row, index in zip(rows, chosen, strict=True)]).prod())
            mean += share * costs.cost([net.candidates[index] for index in net.choices.expand(chosen)], resource)
        expected = float(expected_cost(costs.table(resource), net.choices, weights_SK))
        assert expected == pytest.approx(mean, rel=1e-6)


def test_candidates_with_one_table_pay_for_it_once() -> None:
    """As a component with several numbers of bits, whose table of positions has none."""
    net = op_supernet("gpt2", "gpt_neo", skip=True)
    size, (base, donor) = len(net.candidates), map(net.candidates.index, ("base", "donor"))
    owners = tuple(donor if index == base else index for index in range(size))
    table = CostTable(((0.0,) * size,) * net.space.stages, 0.0, {donor: 5.0}, owners)
    weights_SK = torch.rand(net.space.stages, size, generator=torch.Generator().manual_seed(0)).softmax(-1)
    neither = (1 - weights_SK[:, base] - weights_SK[:, donor]).prod()
    assert float(expected_cost(table, net.choices, weights_SK)) == pytest.approx(5 * (1 - float(neither)))


def test_descent_on_the_penalty_keeps_several_limits() -> None:
    net = op_supernet("gpt2", "gpt_neo", skip=True)
    costs = PathCosts(net, 17)
    path = ["skip", "skip", "base"]
    limits = {name: costs.cost(path, Resource.parse(name)) for name in ("parameters", "cache_bytes@17")}
    bounds = Budget.of(17, **limits).bounds(costs)
    penalty = CostPenalty([*bounds.values()], net.choices, 2.0)
    optimizer = torch.optim.Adam([net.alpha], 0.1)
    uniform = net.weights().detach()
    start = float(penalty(uniform))
    assert start == pytest.approx(
        2
        * sum(
            max(0.0, float(expected_cost(bound.table, net.choices, uniform)) / bound.most - 1)
            for bound in bounds.values()
        )
    )
    assert start > 0
    for _ in range(100):
        optimizer.zero_grad()
        loss = penalty(net.weights())
        if not loss:
            break
        loss.backward()
        optimizer.step()
    reached = net.weights().detach()
    assert float(penalty(reached)) == 0
    assert all(float(expected_cost(bound.table, net.choices, reached)) <= bound.most for bound in bounds.values())


@pytest.mark.parametrize(
    ("selection", "strategy", "message"),
    [
        ({}, "darts", "search.cost_weight needs a limit"),
        ({"max": ["parameters=1M"]}, "halving", "--strategy halving does not train them by gradients"),
    ],
)
def test_a_weight_that_has_no_effect_is_refused(selection: dict[str, Any], strategy: str, message: str) -> None:
    space = {"components": ["gpt-neo", "mamba"]}
    search = {"cost_weight": 1.0, "strategy": strategy}
    with pytest.raises(ManticoreError, match=message):
        resolve([{"space": space, "search": search, "selection": selection}], "cpu")
