"""Scores of paths, larger being better, and the best path by them within a budget. Exact.

A selector returns scores of one of three forms: a score for each candidate at each stage (`StageScoreTable`), the same
with a term for every two neighbours (`ChainScores`), or a score for each path that was tried (`ListedScores`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.selection.best_path import Partial, undominated
from manticore.nas.selection.budget import Budget, Solver, StageTable, best_path_within, solve_within
from manticore.nas.stage_scores import StageScores
from manticore.nas.supernet import Supernet

MAX_RANKED = 1 << 16
"""Largest number of paths that are ranked one by one for a report."""


class PathScores(Protocol):
    """Scores of paths of one search space."""

    def score(self, path: Sequence[str]) -> float:
        """The score of a path; minus infinity if it has none."""
        ...

    def best(self, supernet: Supernet, budget: Budget) -> list[str]:
        """The path with the largest score within the budget. Raises ManticoreError if there is none."""
        ...


@dataclass(frozen=True)
class StageScoreTable:
    """Scores that add up along a path.

    Attributes:
        candidates: the K names, in the order of the columns.
        values: (S, K); those of candidates that a stage does not have are not read.
    """

    candidates: Sequence[str]
    values: StageTable

    def score(self, path: Sequence[str]) -> float:
        """The sum over stages."""
        return sum(row[self.candidates.index(name)] for row, name in zip(self.values, path, strict=True))

    def best(self, supernet: Supernet, budget: Budget) -> list[str]:
        """By dynamic programming over stages."""

        def best(values: StageTable) -> list[str]:
            return best_path_within(supernet, values, budget)

        return _not_empty(self, self.values, supernet.choices, best)


@dataclass(frozen=True)
class ChainScores:
    """Scores with a term for each stage and one for every two neighbouring stages.

    Attributes:
        candidates: the K names, in the order of rows and columns.
        stages: terms of single stages, (S, K).
        pairs: terms of stages s and s + 1, (S - 1, K, K).
    """

    candidates: Sequence[str]
    stages: StageTable
    pairs: Sequence[StageTable]

    def score(self, path: Sequence[str]) -> float:
        """`sum_s stages[s, z_s] + sum_s pairs[s, z_s, z_(s+1)]`."""
        return self._total([self.candidates.index(name) for name in path])

    def _total(self, chosen: Sequence[int]) -> float:
        neighbours = sum(table[a][b] for table, (a, b) in zip(self.pairs, pairwise(chosen), strict=True))
        return sum(row[index] for row, index in zip(self.stages, chosen, strict=True)) + neighbours

    def best(self, supernet: Supernet, budget: Budget) -> list[str]:
        """By dynamic programming over stages; the state is the last candidate and those of groups with later stages."""

        def best(stages: StageTable) -> list[str]:
            scores = replace(self, stages=stages)
            return solve_within(supernet, budget, scores._solver(supernet.choices), scores._total)

        return _not_empty(self, self.stages, supernet.choices, best)

    def _solver(self, choices: Choices) -> Solver:
        def solve(usable: set[int], costs: StageTable | None, limit: float | None, fixed: float) -> tuple[int, ...]:
            allowed = [[index for index in row if index in usable] for row in choices.allowed]
            costs_SK = costs if costs is not None else [[0.0] * len(self.candidates)] * choices.stages
            frontier = [Partial(fixed, 0.0, ())]
            for stage, indices in enumerate(allowed):
                extended = [
                    Partial(
                        partial.cost + costs_SK[stage][index],
                        partial.score + self.stages[stage][index] + self._pair(stage, partial.choices, index),
                        (*partial.choices, index),
                    )
                    for partial in frontier
                    for index in indices
                    if _agrees(choices, partial.choices, stage, index)
                    and (limit is None or partial.cost + costs_SK[stage][index] <= limit)
                ]
                # Partial paths compete where the rest of the path costs and scores the same for them.
                by_state: dict[tuple[int, ...], list[Partial]] = {}
                for partial in extended:
                    by_state.setdefault(_state(choices, partial.choices), []).append(partial)
                frontier = [kept for state in sorted(by_state) for kept in undominated(by_state[state])]
            if not frontier:
                raise ManticoreError(f"no path fits a budget of {limit:,.0f}")
            return max(frontier, key=lambda partial: partial.score).choices

        return solve

    def _pair(self, stage: int, before: tuple[int, ...], index: int) -> float:
        return self.pairs[stage - 1][before[-1]][index] if before else 0.0


def _agrees(choices: Choices, before: tuple[int, ...], stage: int, index: int) -> bool:
    """Whether a stage agrees with the first stage of its group, if that has been chosen."""
    first = choices.rows[stage]
    return first >= len(before) or before[first] == index


def _not_empty(
    scores: PathScores, rows: StageTable, choices: Choices, best: Callable[[StageTable], list[str]]
) -> list[str]:
    """The best path that does not skip every stage.

    Args:
        scores: of paths.
        rows: the terms of single stages in `scores`, (S, K).
        choices: of the search space.
        best: finds the best path of all for such terms.
    """
    path = best(rows)
    if not skips_all(path):
        return path
    # One decision after the other is kept from skipping; the best of all paths with a segment is among the solutions.
    skip, solutions = choices.candidates.index(SKIP), []
    for group in choices.decisions:
        forbidden = [[*row] for row in rows]
        for stage in group:
            forbidden[stage][skip] = -math.inf
        try:
            path = best(forbidden)
        except ManticoreError:
            continue
        if not skips_all(path):
            solutions.append(path)
    if not solutions:
        raise ManticoreError("no path but that which skips every stage is within the budget")
    return max(solutions, key=scores.score)


def _state(choices: Choices, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """What the rest of a partial path depends on: its last candidate, and those of groups with later stages."""
    stages = len(chosen)
    open_groups = sorted({row for row in choices.rows[stages:] if row < stages})
    return (chosen[-1], *(chosen[row] for row in open_groups))


@dataclass(frozen=True)
class ListedScores:
    """Scores of paths one by one; a path that is not listed is never chosen.

    Attributes:
        values: by path.
    """

    values: Mapping[PathNames, float]

    def score(self, path: Sequence[str]) -> float:
        """The score of the path, or minus infinity."""
        return self.values.get(tuple(path), -math.inf)

    def best(self, supernet: Supernet, budget: Budget) -> list[str]:
        """By comparison of all listed paths; of equal ones the first."""
        costs = PathCosts(supernet, budget.length)
        affordable = [path for path in self.values if not skips_all(path) and budget.allows(costs, path)]
        if not affordable:
            raise ManticoreError(f"no path that was scored is within the budget of {budget.summary}")
        best = max(affordable, key=lambda path: self.values[path])
        return list(best)


def enumerate_scores(scores: PathScores, choices: Choices) -> dict[PathNames, float]:
    """The score of every path of a space."""
    return {path: scores.score(path) for path in choices.paths()}


def stage_ranks(scores: PathScores, choices: Choices, chosen_by: str) -> StageScores | None:
    """For each candidate at each stage the rank of the best path that has it, 1 being the best of all.

    Args:
        scores: of paths.
        choices: of the search space.
        chosen_by: name of what scored the paths, for the text of the rule.

    Returns None if the scores are not listed and the space is too large to be enumerated.
    """
    if isinstance(scores, ListedScores):
        by_path = dict(scores.values)
    elif choices.count <= MAX_RANKED:
        by_path = enumerate_scores(scores, choices)
    else:
        return None
    ranked = sorted(by_path, key=lambda path: -by_path[path])
    worst = float(len(ranked) + 1)
    values = [[worst] * len(choices.candidates) for _ in range(choices.stages)]
    for rank, path in reversed(list(enumerate(ranked, start=1))):
        for stage, name in enumerate(path):
            values[stage][choices.candidates.index(name)] = float(rank)
    return StageScores(
        "rank of the best path",
        "",
        lower_is_better=True,
        candidates=choices.candidates,
        values=tuple(map(tuple, values)),
        rule=f"{len(ranked)} paths were scored by {chosen_by}. The path has the best score",
    )
