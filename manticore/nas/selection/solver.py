"""The best path under limits on several resources, by exact dynamic programming over stages.

Scores and costs add up along a path. Partial paths that can be continued in the same ways compete: one is dropped if
another has no smaller score and no larger cost in any limited resource (no smaller one, where there is a minimum). What
is left after the last stage has the best path among it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from manticore.components.spec import SKIP
from manticore.nas.choices import Choices
from manticore.nas.cost import CostTable

StageTable = Sequence[Sequence[float]]
"""A score or a cost for each stage and candidate, (S, K)."""


@dataclass(frozen=True)
class Bound:
    """The range that a cost must be in.

    Attributes:
        table: the cost.
        least, most: the ends of the range; infinite where there is none.
    """

    table: CostTable
    least: float = -math.inf
    most: float = math.inf

    def allows(self, cost: float) -> bool:
        """Whether a cost is in the range."""
        return self.least <= cost <= self.most

    def excess(self, cost: float) -> float:
        """How far a cost is out of the range, as a share of the end that it is beyond; 0 inside."""
        if cost > self.most:
            return cost / self.most - 1
        return 1 - cost / self.least if cost < self.least else 0.0


class Partial(NamedTuple):
    """The choices of the first stages, with the sum of their scores and their costs in each limited resource."""

    score: float
    costs: tuple[float, ...]
    chosen: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """The choices, the scores and the limits of a selection.

    Attributes:
        choices: of the search space. The path that skips every stage is never selected.
        scores: of each candidate at each stage, (S, K).
        pairs: of every two neighbours, (S - 1, K, K); empty if there are none.
        bounds: the limits.
    """

    choices: Choices
    scores: StageTable
    pairs: Sequence[StageTable] = ()
    bounds: Sequence[Bound] = ()

    def best(self) -> tuple[int, ...] | None:
        """The candidate of each stage; of equal paths the first in order. None if no path is within the bounds."""
        finished = self._solve(prune=True)
        feasible = [
            partial
            for partial in finished
            if all(bound.allows(bound.table.of(partial.chosen)) for bound in self.bounds)
        ]
        return min(feasible, key=lambda partial: (-partial.score, partial.chosen)).chosen if feasible else None

    def score(self, chosen: Sequence[int]) -> float:
        """The score of a path: its terms at single stages and of neighbours, summed."""
        neighbours = sum(table[a][b] for table, (a, b) in zip(self.pairs, pairwise(chosen), strict=False))
        return sum(row[index] for row, index in zip(self.scores, chosen, strict=True)) + neighbours

    def front(self, objectives: Sequence[CostTable]) -> list[tuple[int, ...]]:
        """The paths within the bounds that no other dominates in the score and in all objectives, of which smaller is
        better; of equal ones the first in order. Sorted by the first objective."""
        unlimited = [Bound(table, most=sys.float_info.max) for table in objectives]
        every = Problem(self.choices, self.scores, self.pairs, [*self.bounds, *unlimited])
        feasible = [
            partial
            for partial in every._solve(prune=True)
            if all(bound.allows(bound.table.of(partial.chosen)) for bound in self.bounds)
        ]
        last = Problem(self.choices, self.scores, self.pairs, unlimited)
        finished = [
            Partial(partial.score, tuple(table.of(partial.chosen) for table in objectives), partial.chosen)
            for partial in feasible
        ]
        return [partial.chosen for partial in sorted(last._undominated(finished), key=lambda partial: partial.costs)]

    def nearest(self) -> tuple[int, ...]:
        """The path that exceeds the bounds least: the largest of its excesses is the smallest of all paths'."""
        zeros = [[0.0] * len(self.choices.candidates)] * self.choices.stages
        finished = Problem(self.choices, zeros, (), self.bounds)._solve(prune=False)

        def excesses(partial: Partial) -> list[float]:
            pairs = zip(self.bounds, partial.costs, strict=True)
            return sorted((bound.excess(cost) for bound, cost in pairs), reverse=True)

        return min(finished, key=lambda partial: (excesses(partial), partial.chosen)).chosen

    def _solve(self, prune: bool) -> list[Partial]:
        """The undominated paths; with `prune` those of them that may be within the bounds."""
        choices = self.choices
        skip = choices.candidates.index(SKIP) if SKIP in choices.candidates else -1
        rests = [self._rest(bound) for bound in self.bounds] if prune else []
        frontier = [Partial(0.0, tuple(bound.table.fixed for bound in self.bounds), ())]
        for stage, allowed in enumerate(choices.allowed):
            by_state: dict[tuple[object, ...], list[Partial]] = {}
            for partial in frontier:
                first = choices.rows[stage]
                for index in allowed if first == stage else (partial.chosen[first],):
                    extended = self._extend(partial, stage, index)
                    if prune and not self._reaches(extended, stage, rests):
                        continue
                    by_state.setdefault(self._state(extended.chosen, skip), []).append(extended)
            frontier = [kept for partials in by_state.values() for kept in self._undominated(partials)]
        return [partial for partial in frontier if any(index != skip for index in partial.chosen)]

    def _extend(self, partial: Partial, stage: int, index: int) -> Partial:
        chosen, score = partial.chosen, partial.score + self.scores[stage][index]
        if self.pairs and chosen:
            score += self.pairs[stage - 1][chosen[-1]][index]
        costs = tuple(
            cost + bound.table.stages[stage][index] + _first_use(bound.table, chosen, index)
            for bound, cost in zip(self.bounds, partial.costs, strict=True)
        )
        return Partial(score, costs, (*chosen, index))

    def _rest(self, bound: Bound) -> list[tuple[float, float]]:
        """For each stage the smallest and the largest cost of all later ones, tables that count once aside."""
        rest, low, high = list[tuple[float, float]](), 0.0, sum(bound.table.once.values())
        for stage in reversed(range(self.choices.stages)):
            rest.append((low, high))
            row = [bound.table.stages[stage][index] for index in self.choices.allowed[stage]]
            low, high = low + min(row), high + max(row)
        return rest[::-1]

    def _reaches(self, partial: Partial, stage: int, rests: Sequence[Sequence[tuple[float, float]]]) -> bool:
        """Whether some continuation may be within the bounds."""
        for bound, cost, rest in zip(self.bounds, partial.costs, rests, strict=True):
            slack = 1e-9 * max(abs(cost), 1.0)  # sums of the same costs in another order differ by rounding
            if cost + rest[stage][0] - slack > bound.most or cost + rest[stage][1] + slack < bound.least:
                return False
        return True

    def _state(self, chosen: tuple[int, ...], skip: int) -> tuple[object, ...]:
        """What the rest of a partial path depends on.

        The last candidate if neighbours have scores, those of groups with later stages, the donors whose tables are
        counted, and whether some stage is not skipped.
        """
        choices, stages = self.choices, len(chosen)
        open_groups = sorted({row for row in choices.rows[stages:] if row < stages})
        once = {
            bound.table.owner(index)
            for bound in self.bounds
            for index in chosen
            if bound.table.owner(index) in bound.table.once
        }
        return (
            chosen[-1] if self.pairs else None,
            tuple(chosen[row] for row in open_groups),
            frozenset(once),
            any(index != skip for index in chosen),
        )

    def _undominated(self, partials: list[Partial]) -> list[Partial]:
        """The partial paths that no other dominates; of equal ones the first in order of choices."""
        ends = [(bound.most < math.inf, bound.least > -math.inf) for bound in self.bounds]

        def losses(partial: Partial) -> list[float]:
            """Numbers of which smaller ones are better."""
            upper = [cost for cost, (most, _) in zip(partial.costs, ends, strict=True) if most]
            return upper + [-cost for cost, (_, least) in zip(partial.costs, ends, strict=True) if least]

        ordered = sorted(partials, key=lambda partial: (-partial.score, losses(partial), partial.chosen))
        if not self.bounds:
            return ordered[:1]
        kept: list[Partial] = []
        table_NR = np.empty((len(ordered), sum(map(sum, ends))))
        for partial in ordered:
            row_R = np.array(losses(partial))
            if not bool((table_NR[: len(kept)] <= row_R).all(1).any()):
                table_NR[len(kept)] = row_R
                kept.append(partial)
        return kept


def _first_use(table: CostTable, chosen: tuple[int, ...], index: int) -> float:
    """What counts once and is not counted in the choices before."""
    if not table.once:
        return 0.0
    owner = table.owner(index)
    return 0.0 if owner in map(table.owner, chosen) else table.once.get(owner, 0.0)
