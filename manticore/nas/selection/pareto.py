"""Pareto fronts of a score and of costs: exact from scores of all paths, or searched with few evaluations.

The costs of a path are known, so only its score has to be evaluated. `front_search` is the loop of LINAS (arXiv
2205.10358), with an exact solver in place of its evolutionary one: fit a predictor to the paths that are evaluated,
evaluate the paths on its front, repeat.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.cost import CostTable, PathCosts
from manticore.nas.resources import Resource
from manticore.nas.selection.budget import Budget
from manticore.nas.selection.chain import fit_chain
from manticore.nas.selection.scores import ChainScores, ListedScores, PathScores, StageScoreTable
from manticore.nas.selection.solver import Problem

ROUNDS = 8
"""Number of times that the predictor is fitted."""

MARGIN = 1.1
"""Reference point of a hypervolume, in units of the range of each coordinate."""


class FrontPoint(NamedTuple):
    """A path with its score, larger being better, and its costs."""

    path: PathNames
    score: float
    costs: tuple[float, ...]


def pareto_front(
    scores: PathScores, costs: PathCosts, resources: Sequence[Resource], budget: Budget | None = None
) -> list[FrontPoint]:
    """The paths that no other dominates in score and costs, sorted by the first cost. Exact.

    Args:
        scores: of paths.
        costs: of the same space.
        resources: the costs, of which smaller is better.
        budget: limits that all paths of the front keep to.
    """
    budget = budget or Budget(length=costs.length)
    tables = [costs.table(resource) for resource in resources]
    choices = costs.supernet.choices
    if isinstance(scores, StageScoreTable | ChainScores):
        single, pairs = (scores.values, ()) if isinstance(scores, StageScoreTable) else (scores.stages, scores.pairs)
        problem = Problem(choices, single, pairs, [*budget.bounds(costs).values()])
        paths = [tuple(choices.candidates[index] for index in chosen) for chosen in problem.front(tables)]
        return [_point(path, scores, costs, resources) for path in paths]
    assert isinstance(scores, ListedScores)
    listed = [path for path in scores.values if budget.allows(costs, path)]
    return undominated(_point(path, scores, costs, resources) for path in listed)


def _point(path: PathNames, scores: PathScores, costs: PathCosts, resources: Sequence[Resource]) -> FrontPoint:
    return FrontPoint(path, scores.score(path), tuple(costs.cost(path, resource) for resource in resources))


def undominated(points: Iterable[FrontPoint]) -> list[FrontPoint]:
    """The points that no other dominates, of equal ones the first; paths that skip every stage are left out."""
    kept: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (-point.score, point.costs)):
        if math.isfinite(point.score) and not skips_all(point.path) and not any(_covers(each, point) for each in kept):
            kept.append(point)
    return sorted(kept, key=lambda point: point.costs)


def _covers(point: FrontPoint, rival: FrontPoint) -> bool:
    """Whether a point is nowhere worse than its rival."""
    pairs = zip(point.costs, rival.costs, strict=True)
    return point.score >= rival.score and all(own <= cost for own, cost in pairs)


def front_search(
    choices: Choices,
    tables: Sequence[CostTable],
    evaluate: Callable[[PathNames], float],
    evaluations: int,
    rng: random.Random,
) -> dict[PathNames, float]:
    """The scores of the paths that were evaluated to find the front of score and costs.

    Args:
        choices: of the search space.
        tables: the costs.
        evaluate: the score of a path, larger being better.
        evaluations: largest number of paths that are evaluated.
        rng: draws paths at the start, and where the front has none that is new.
    """
    scores: dict[PathNames, float] = {}
    names = dict.fromkeys(name for stage in range(choices.stages) for name in choices.names(stage))
    alone = [(name,) * choices.stages for name in names if choices.has_alone(name)]
    first = max(1, math.ceil(evaluations / ROUNDS), min(len(alone), evaluations // 2))
    batch = [path for path in alone if not skips_all(path)][:first]
    evaluations = min(evaluations, choices.count)
    while True:
        while len(batch) < first and (path := _new_path(choices, {*scores, *batch}, rng)) is not None:
            batch.append(path)
        for path in batch[: evaluations - len(scores)]:
            scores[path] = evaluate(path)
        if len(scores) >= evaluations or not batch:
            return scores
        first = max(1, math.ceil(evaluations / ROUNDS))
        finite = {path: score for path, score in scores.items() if math.isfinite(score)}
        batch = _most_promising(choices, tables, finite, scores.keys(), first) if finite else []


def _most_promising(
    choices: Choices,
    tables: Sequence[CostTable],
    known: dict[PathNames, float],
    tried: Collection[PathNames],
    count: int,
) -> list[PathNames]:
    """New paths of the front that a chain fitted to `known` predicts, in the order of their gain in hypervolume."""
    predicted = fit_chain(choices, known)
    front = Problem(choices, predicted.stages, predicted.pairs).front(tables)
    paths = [tuple(choices.candidates[index] for index in chosen) for chosen in front]
    new = [path for path in paths if path not in tried]

    def point(path: PathNames, score: float) -> tuple[float, ...]:
        chosen = [choices.candidates.index(name) for name in path]
        return (-score, *(table.of(chosen) for table in tables))

    points = [point(path, score) for path, score in known.items()]
    by_path = {path: point(path, predicted.score(path)) for path in new}
    lows, highs = zip(
        *((min(column), max(column)) for column in zip(*points, *by_path.values(), strict=True)), strict=True
    )
    spans = [max(high - low, 1e-12) for low, high in zip(lows, highs, strict=True)]

    def volume(of: Sequence[tuple[float, ...]]) -> float:
        scaled = [[(x - low) / span for x, low, span in zip(each, lows, spans, strict=True)] for each in of]
        return hypervolume(scaled, [MARGIN] * len(lows))

    chosen: list[PathNames] = []
    while by_path and len(chosen) < count:
        best = max(by_path, key=lambda path: volume([*points, by_path[path]]))
        chosen.append(best)
        points.append(by_path.pop(best))
    return chosen


TRIES = 100
"""Number of draws of a path that is not evaluated yet."""


def _new_path(choices: Choices, known: set[PathNames], rng: random.Random) -> PathNames | None:
    for _ in range(TRIES):
        path = tuple(choices.random_path(rng))
        if path not in known and not skips_all(path):
            return path
    return None


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume that points dominate up to a reference point; smaller coordinates are better.

    Zitzler and Thiele (1998), by slices along the last coordinate.
    """
    inside = [tuple(point) for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in inside)
    ordered = sorted(inside, key=lambda point: point[-1])
    ends = [*(point[-1] for point in ordered[1:]), reference[-1]]
    return math.fsum(
        (end - ordered[index][-1]) * hypervolume([point[:-1] for point in ordered[: index + 1]], reference[:-1])
        for index, end in enumerate(ends)
    )
