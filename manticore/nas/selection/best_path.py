"""The best path by exact dynamic programming over stages, optionally under a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from manticore.errors import ManticoreError


class Partial(NamedTuple):
    """The choices of the first stages, with their summed cost and score."""

    cost: float
    score: float
    choices: tuple[int, ...]


def best_path(
    scores_SK: Sequence[Sequence[float]],
    costs_SK: Sequence[Sequence[float]] | None = None,
    budget: float | None = None,
    fixed: float = 0.0,
) -> tuple[int, ...]:
    """The choice for each of S stages that has the largest sum of scores within the budget.

    Scores and costs add up along a path, so partial paths that cost no less and score no more than another can be
    dropped: what is left after each stage is the exact frontier, and the result is optimal.

    Args:
        scores_SK: gain of each candidate at each stage, such as the log of its mixing weight. Stages may have
            different numbers of candidates.
        costs_SK: cost of each candidate at each stage, in any unit.
        budget: largest total cost, in the same unit.
        fixed: cost of what every path has.

    Raises:
        ManticoreError: no path is within the budget; the message has the cost of the cheapest path.
    """
    costs = costs_SK if costs_SK is not None else [[0.0] * len(row) for row in scores_SK]
    if budget is not None:
        cheapest = fixed + sum(min(row) for row in costs)
        if cheapest > budget:
            raise ManticoreError(f"no path fits a budget of {budget:,.0f}: the cheapest costs {cheapest:,.0f}")
    frontier = [Partial(fixed, 0.0, ())]
    for scores, costs_K in zip(scores_SK, costs, strict=True):
        extended = [
            Partial(partial.cost + cost, partial.score + gain, (*partial.choices, choice))
            for partial in frontier
            for choice, (gain, cost) in enumerate(zip(scores, costs_K, strict=True))
            if budget is None or partial.cost + cost <= budget
        ]
        frontier = undominated(extended)
    return max(frontier, key=lambda partial: partial.score).choices


def undominated(partials: list[Partial]) -> list[Partial]:
    """The partial paths that are not dominated in cost and score; of equal ones the first in order of choices."""
    kept: list[Partial] = []
    for partial in sorted(partials, key=lambda p: (p.cost, -p.score, p.choices)):
        if not kept or partial.score > kept[-1].score:
            kept.append(partial)
    return kept
