"""Pareto fronts: exact from scores of all paths, and searched with few evaluations on shipped tables."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest

from manticore.nas.bench import HybridBench
from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.cost import CostTable, PathCosts
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget, ChainScores, ListedScores, StageScoreTable
from manticore.nas.selection.pareto import front_search, hypervolume, pareto_front
from manticore.nas.selection.scores import PathScores
from manticore.nas.supernet import Supernet
from tests.helpers.ops import op_supernet

RESOURCES = (Resource("parameters"), Resource("cache_bytes", 40))


@pytest.fixture(scope="module")
def net() -> Supernet:
    """GPT-2 and GPT-Neo, whose table of positions counts once, with ops and skip."""
    return op_supernet("gpt2", "gpt_neo", skip=True)


@pytest.mark.parametrize("kind", ["stages", "chain", "listed"])
@pytest.mark.parametrize("resources", [RESOURCES[:1], RESOURCES])
def test_the_front_is_that_of_all_paths(net: Supernet, kind: str, resources: tuple[Resource, ...]) -> None:
    rng, count = random.Random(kind), len(net.candidates)
    table = [[rng.gauss(0, 1) for _ in range(count)] for _ in range(3)]
    scores: PathScores = StageScoreTable(net.candidates, table)
    if kind == "chain":
        pairs = [[[rng.gauss(0, 1) for _ in range(count)] for _ in range(count)] for _ in range(2)]
        scores = ChainScores(net.candidates, table, pairs)
    elif kind == "listed":
        scores = ListedScores({path: rng.gauss(0, 1) for path in net.choices.paths()})
    costs = PathCosts(net, 17)
    budget = Budget.of(17, parameters=sorted(map(costs.parameters, net.choices.paths()))[40])
    points = {
        path: (-scores.score(path), *(costs.cost(path, resource) for resource in resources))
        for path in net.choices.paths()
        if not skips_all(path) and budget.allows(costs, path)
    }
    expected = {
        path
        for path, own in points.items()
        if not any(rival != own and all(a <= b for a, b in zip(rival, own, strict=True)) for rival in points.values())
    }
    front = pareto_front(scores, costs, resources, budget)
    assert {point.path for point in front} == expected
    assert [point.costs for point in front] == sorted(point.costs for point in front)


def test_hypervolume() -> None:
    assert hypervolume([(0.25, 0.5), (0.5, 0.25), (2, 0)], (1, 1)) == pytest.approx(0.375 + 0.125)
    assert hypervolume([(0.5, 0.5, 0.5), (0.5, 0.5, 0.75)], (1, 1, 1)) == pytest.approx(0.125)
    assert hypervolume([], (1, 1)) == 0


def test_few_evaluations_find_most_of_the_front_of_a_shipped_table() -> None:
    bench = HybridBench.load("text-source")
    choices = Choices.free(tuple(dict.fromkeys(name for record in bench.paths for name in record.path)), 5)
    base = bench[(bench.base,) * 5].cache_bytes
    single = [
        [
            bench[tuple(name if at == stage else bench.base for at in range(5))].cache_bytes - base
            for name in choices.candidates
        ]
        for stage in range(5)
    ]
    table = CostTable(tuple(map(tuple, single)), base)
    bits = {record.path: record.mean("val") for record in bench.paths}

    def cost(path: PathNames) -> float:
        return table.of([choices.candidates.index(name) for name in path])

    assert all(cost(record.path) == record.cache_bytes for record in bench.paths)
    sides = [(min(values), max(values)) for values in (bits.values(), list(map(cost, bits)))]

    def volume(paths: list[PathNames]) -> float:
        points = [
            [(x - low) / (high - low) for x, (low, high) in zip((bits[path], cost(path)), sides, strict=True)]
            for path in paths
        ]
        return hypervolume(points, (1.1, 1.1)) / 1.21

    whole = volume([*bits])
    searched, drawn = [], []
    for seed in range(10):
        rng = random.Random(seed)
        scores = front_search(choices, [table], lambda path: -bits[path], 8, rng)
        assert len(scores) == 8
        searched.append(volume([*scores]) / whole)
        drawn.append(volume(rng.sample([*bits], 8)) / whole)
    assert fmean(searched) > 0.985  # 0.981 where unlike neighbours are not expected to be better
    assert fmean(searched) > fmean(drawn) + 0.08


def test_a_search_with_an_evaluation_for_every_path_ends() -> None:
    choices = Choices.free(["a", "b"], 2)
    scores = front_search(choices, [CostTable(((1.0, 2.0),) * 2)], lambda path: math.inf, 9, random.Random(0))
    assert set(scores) == set(choices.paths())
