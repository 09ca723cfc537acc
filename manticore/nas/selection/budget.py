"""Limits on what a path may cost, several at once, and the best path within them. Exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from manticore.errors import ManticoreError
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Limit, Resource
from manticore.nas.selection.solver import Bound, Problem, StageTable
from manticore.nas.supernet import Supernet
from manticore.utils.path_text import path_text


@dataclass(frozen=True)
class Budget:
    """The largest and the smallest costs that a path may have; no limits by default.

    Attributes:
        largest: upper limits, with numbers as values.
        smallest: lower limits.
        length: tokens of a sequence, for resources that do not set it.
    """

    largest: tuple[Limit, ...] = ()
    smallest: tuple[Limit, ...] = ()
    length: int = 1

    @classmethod
    def of(cls, length: int, **largest: float) -> Budget:
        """Upper limits by the names of resources: `Budget.of(2048, parameters=1e6, prefill_flops=2e6)`."""
        limits = [Limit(Resource.parse(name), value, f"{name}={value:g}") for name, value in largest.items()]
        return cls(tuple(limits), length=length)

    @property
    def unlimited(self) -> bool:
        """Whether every path is within the budget."""
        return not self.largest and not self.smallest

    def without(self, name: str) -> Budget:
        """The limits on other resources than the one of this name."""
        largest, smallest = (
            tuple(limit for limit in limits if limit.resource.name != name) for limits in (self.largest, self.smallest)
        )
        return replace(self, largest=largest, smallest=smallest)

    @property
    def resources(self) -> list[Resource]:
        """The resources that are limited, each once, at the budget's length where they do not set one."""
        return list(dict.fromkeys(limit.resource.at(self.length) for limit in (*self.largest, *self.smallest)))

    @property
    def summary(self) -> str:
        """The limits as text, with their units."""
        parts = [
            f"{limit.resource.at(self.length)} of at {side} {limit.resource.format(_number(limit))}"
            for side, limits in (("most", self.largest), ("least", self.smallest))
            for limit in limits
        ]
        return " and ".join(parts)

    def bounds(self, costs: PathCosts) -> dict[Resource, Bound]:
        """The range of each limited resource, with the costs of the paths."""
        out = {}
        for resource in self.resources:
            least = [_number(each) for each in self.smallest if each.resource.at(self.length) == resource]
            most = [_number(each) for each in self.largest if each.resource.at(self.length) == resource]
            out[resource] = Bound(costs.table(resource), max(least, default=-math.inf), min(most, default=math.inf))
        return out

    def allows(self, costs: PathCosts, path: Sequence[str]) -> bool:
        """Whether a path is within all limits."""
        chosen = [costs.supernet.candidates.index(name) for name in path]
        return all(bound.allows(bound.table.of(chosen)) for bound in self.bounds(costs).values())

    def check(self, costs: PathCosts) -> None:
        """Raise ManticoreError if no path is within the limits; the message has the nearest path and what it costs."""
        self.best(costs, [[0.0] * len(costs.supernet.candidates)] * costs.supernet.space.stages)

    def best(self, costs: PathCosts, scores: StageTable, pairs: Sequence[StageTable] = ()) -> list[str]:
        """The path with the largest sum of scores within the limits; see `Problem`. Raises as `check` does."""
        bounds, supernet = self.bounds(costs), costs.supernet
        problem = Problem(supernet.choices, scores, pairs, [*bounds.values()])
        chosen = problem.best()
        if chosen is None:
            raise self._infeasible(supernet, bounds, problem.nearest())
        return [supernet.candidates[index] for index in chosen]

    def _infeasible(self, net: Supernet, bounds: dict[Resource, Bound], nearest: Sequence[int]) -> ManticoreError:
        path = path_text([net.candidates[index] for index in nearest])
        values = " and ".join(f"{name} {name.format(bound.table.of(nearest))}" for name, bound in bounds.items())
        return ManticoreError(f"no path has {self.summary}; the nearest, {path}, has {values}")


def best_path_within(supernet: Supernet, scores_SK: StageTable, budget: Budget) -> list[str]:
    """The path with the largest sum of scores within the budget.

    Args:
        supernet: the supernet of the candidates.
        scores_SK: score of each candidate at each stage; scores add up along a path. Those of candidates that a stage
            does not have are not read.
        budget: the limits.

    Raises ManticoreError if no path is within the budget; the message has the nearest path and what it costs.
    """
    return budget.best(PathCosts(supernet, budget.length), scores_SK)


def _number(limit: Limit) -> float:
    assert not isinstance(limit.value, str), "the largest component's cost is computed before"
    return limit.value
