"""The scores that a path was chosen by: one for every candidate at every stage, with its spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ScoreTable = tuple[tuple[float, ...], ...]
"""A number for each stage and candidate, (S, K)."""


@dataclass(frozen=True)
class StageScores:
    """The scores of all candidates at all stages when the path was chosen.

    Attributes:
        measure: what is measured: `KL divergence`, `mixing weight`.
        unit: unit of the values; empty for a share.
        lower_is_better: whether the smaller value is the better one.
        candidates: the K names, in the order of the columns.
        values: (S, K).
        spread: (S, K), how far the values vary; None if that is not known.
        spread_of: what `spread` is, as a phrase.
        threshold: the value that a donor's must be below to be chosen; None if there is none.
        rule: how the path was chosen, as a sentence.
        warnings: reasons to doubt the choice, as sentences.
    """

    measure: str
    unit: str
    lower_is_better: bool
    candidates: tuple[str, ...]
    values: ScoreTable
    spread: ScoreTable | None = None
    spread_of: str = ""
    threshold: float | None = None
    rule: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for table in (self.values, self.spread or self.values):
            if len(table) != len(self.values) or any(len(row) != len(self.candidates) for row in table):
                raise ValueError(f"scores are not one of {len(self.candidates)} candidates at each stage")

    def spread_at(self, stage: int, column: int) -> float | None:
        """How far a value varies; None if that is not known."""
        return None if self.spread is None else self.spread[stage][column]


LATE = 0.25
"""Share of a search, at its end, over which the variation of mixing weights is measured."""


def late_records(weights_TSK: Sequence[ScoreTable]) -> Sequence[ScoreTable]:
    """The mixing weights of the last quarter of the recorded steps, at least one."""
    return weights_TSK[-max(1, round(LATE * len(weights_TSK))) :]


def weight_scores(candidates: Sequence[str], weights_TSK: Sequence[ScoreTable]) -> StageScores:
    """The mixing weights at the end of a search, with their standard deviation over its last quarter.

    Args:
        candidates: names of the columns.
        weights_TSK: mixing weights at each recorded step, at least one.
    """
    final, late = weights_TSK[-1], late_records(weights_TSK)
    spread = None
    if len(late) > 1:
        spread = tuple(
            tuple(_deviation([weights[stage][column] for weights in late]) for column in range(len(candidates)))
            for stage in range(len(final))
        )
    text = f"standard deviation over the last {len(late)} recorded steps of the search" if spread else ""
    return StageScores("mixing weight", "", False, tuple(candidates), final, spread, text)


def _deviation(values: Sequence[float]) -> float:
    """The sample standard deviation."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
