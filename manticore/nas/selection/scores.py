"""Scores of paths, larger being better, and the best path by them within a budget. Exact.

A selector returns scores of one of three forms: a score for each candidate at each stage (`StageScoreTable`), the same
with a term for every two neighbours (`ChainScores`), or a score for each path that was tried (`ListedScores`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.selection.budget import Budget
from manticore.nas.selection.solver import StageTable
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
        return budget.best(PathCosts(supernet, budget.length), self.values)


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
        chosen = [self.candidates.index(name) for name in path]
        neighbours = sum(table[a][b] for table, (a, b) in zip(self.pairs, pairwise(chosen), strict=True))
        return sum(row[index] for row, index in zip(self.stages, chosen, strict=True)) + neighbours

    def best(self, supernet: Supernet, budget: Budget) -> list[str]:
        """By dynamic programming over stages; the last candidate of a partial path is part of its state."""
        return budget.best(PathCosts(supernet, budget.length), self.stages, self.pairs)


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
            raise ManticoreError(f"no path that was scored has {budget.summary}")
        best = max(affordable, key=lambda path: self.values[path])
        return list(best)


def enumerate_scores(scores: PathScores, choices: Choices) -> dict[PathNames, float]:
    """The score of every path of a space."""
    return {path: scores.score(path) for path in choices.paths()}


def stage_ranks(scores: PathScores, choices: Choices, chosen_by: str) -> StageScores | None:
    """For each candidate at each stage the rank of the best path that has it, 1 being the best of all.

    Of scores that add up along the paths of a space that is too large to be enumerated, these scores.

    Args:
        scores: of paths.
        choices: of the search space.
        chosen_by: name of what scored the paths, for the text of the rule.

    Returns None if the scores neither are listed nor add up, and the space is too large to be enumerated.
    """
    if isinstance(scores, ListedScores):
        by_path = dict(scores.values)
    elif choices.count <= MAX_RANKED:
        by_path = enumerate_scores(scores, choices)
    elif isinstance(scores, StageScoreTable):
        rule = f"{chosen_by} scored each choice by itself. The path has the largest sum of scores"
        table = tuple(tuple(map(float, row)) for row in scores.values)
        return StageScores("score", "", lower_is_better=False, candidates=choices.candidates, values=table, rule=rule)
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
