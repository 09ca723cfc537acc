"""Pareto fronts of a score and of costs: exact from scores of all paths, or searched with few evaluations.

The costs of a path are known, so only its score has to be evaluated. `front_search` is the loop of LINAS (arXiv
2205.10358): fit a predictor to the paths that are evaluated, evaluate the paths on its front, repeat. In place of its
evolutionary search it has an exact solver, and in place of one predictor draws from a posterior, of which the expected
gain in hypervolume (arXiv 2006.05078) is taken.
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
from manticore.nas.selection.chain import ChainPosterior
from manticore.nas.selection.scores import ChainScores, ListedScores, PathScores, StageScoreTable
from manticore.nas.selection.solver import Problem

ROUNDS = 8
"""Number of times that the predictor is fitted."""

CHAINS = 16
"""Number of chains that are drawn from the posterior."""

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

    The first path is the cheapest candidate alone, an end of the front. In every round chains are drawn from the
    posterior given the scores so far, and of the paths on their fronts those are evaluated that add most to the
    hypervolume in the mean over the chains.

    Args:
        choices: of the search space.
        tables: the costs.
        evaluate: the score of a path, larger being better.
        evaluations: largest number of paths that are evaluated.
        rng: draws the chains, and paths where the fronts have none that is new.
    """
    scores: dict[PathNames, float] = {}
    names = dict.fromkeys(name for stage in range(choices.stages) for name in choices.names(stage))
    alone = [(name,) * choices.stages for name in names if choices.has_alone(name)]
    batch = sorted((path for path in alone if not skips_all(path)), key=lambda path: _costs(choices, tables, path))[:1]
    evaluations = min(evaluations, choices.count)
    size = max(1, math.ceil(evaluations / ROUNDS))
    while True:
        while len(batch) < (size if scores else 1) and (path := _new_path(choices, {*scores, *batch}, rng)) is not None:
            batch.append(path)
        for path in batch[: evaluations - len(scores)]:
            scores[path] = evaluate(path)
        if len(scores) >= evaluations or not batch:
            return scores
        finite = {path: score for path, score in scores.items() if math.isfinite(score)}
        batch = _most_promising(choices, tables, finite, scores.keys(), size, rng) if finite else []


def _costs(choices: Choices, tables: Sequence[CostTable], path: PathNames) -> tuple[float, ...]:
    chosen = [choices.candidates.index(name) for name in path]
    return tuple(table.of(chosen) for table in tables)


def _most_promising(
    choices: Choices,
    tables: Sequence[CostTable],
    known: dict[PathNames, float],
    tried: Collection[PathNames],
    count: int,
    rng: random.Random,
) -> list[PathNames]:
    """New paths of the fronts of drawn chains, in the order of their expected gain in hypervolume."""
    posterior = ChainPosterior.of(choices, known)
    chains = [posterior.draw(rng) for _ in range(CHAINS)]
    fronts = (Problem(choices, chain.stages, chain.pairs).front(tables) for chain in chains)
    paths = dict.fromkeys(tuple(choices.candidates[index] for index in chosen) for front in fronts for chosen in front)
    costs = {path: _costs(choices, tables, path) for path in (*known, *paths)}
    new = [path for path in paths if path not in tried]
    worlds = [_World(chain, costs, known, new) for chain in chains]
    chosen: list[PathNames] = []
    while new and len(chosen) < count:
        best = max(new, key=lambda path: math.fsum(world.gain(path) for world in worlds))
        new.remove(best)
        chosen.append(best)
        for world in worlds:
            world.add(best)
    return chosen


class _World:
    """The points of paths if a drawn chain were true, each coordinate in units of its range."""

    def __init__(
        self,
        chain: ChainScores,
        costs: dict[PathNames, tuple[float, ...]],
        known: dict[PathNames, float],
        new: Sequence[PathNames],
    ) -> None:
        raw = {path: (-score, *costs[path]) for path, score in known.items()}
        raw |= {path: (-chain.score(path), *costs[path]) for path in new}
        columns = [*zip(*raw.values(), strict=True)]
        lows, spans = [min(column) for column in columns], [max(max(c) - min(c), 1e-12) for c in columns]
        self.points = {
            path: tuple((x - low) / span for x, low, span in zip(point, lows, spans, strict=True))
            for path, point in raw.items()
        }
        self.reference = [MARGIN] * len(columns)
        self.front: list[tuple[float, ...]] = []
        self.volume = 0.0
        for path in known:
            self.add(path)

    def gain(self, path: PathNames) -> float:
        """What a path adds to the hypervolume of the front."""
        point = self.points[path]
        if any(_below(each, point) for each in self.front):
            return 0.0
        return hypervolume([*self.front, point], self.reference) - self.volume

    def add(self, path: PathNames) -> None:
        """Make a path part of the front, if it is not dominated."""
        point = self.points[path]
        if not any(_below(each, point) for each in self.front):
            self.front = [each for each in self.front if not _below(point, each)] + [point]
            self.volume = hypervolume(self.front, self.reference)


def _below(point: tuple[float, ...], rival: tuple[float, ...]) -> bool:
    return all(own <= cost for own, cost in zip(point, rival, strict=True))


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
