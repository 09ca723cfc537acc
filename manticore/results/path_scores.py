"""The scores that a search selected its path by, `path_scores.json`: with them another path is selected later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from manticore.nas.selection import ChainScores, ListedScores, PathScores, StageScoreTable
from manticore.results.codec import ResultFile

Rows = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class ScoredPath:
    """A path and its score; None for one whose training diverged."""

    path: tuple[str, ...]
    score: float | None


@dataclass(frozen=True)
class SavedScores(ResultFile):
    """Scores of paths, larger being better.

    Attributes:
        candidates: the K names, in the order of columns.
        selector: the strategy or selector that scored the paths.
        is_loss: whether a score is minus a validation loss in nats.
        stages: terms of single stages, (S, K); empty where paths were scored one by one.
        pairs: terms of neighbouring stages, (S - 1, K, K); empty if there are none.
        paths: the paths that were scored one by one.
    """

    FILE: ClassVar[str] = "path_scores.json"
    FORMAT: ClassVar[int] = 1

    candidates: tuple[str, ...]
    selector: str
    is_loss: bool
    stages: Rows = ()
    pairs: tuple[Rows, ...] = ()
    paths: tuple[ScoredPath, ...] = ()

    @classmethod
    def of(cls, scores: PathScores, candidates: Sequence[str], selector: str, is_loss: bool) -> SavedScores:
        """The scores of a search, as plain data."""
        names = tuple(candidates)
        if isinstance(scores, StageScoreTable):
            return cls(names, selector, is_loss, _finite_rows(scores.values))
        if isinstance(scores, ChainScores):
            pairs = tuple(map(_finite_rows, scores.pairs))
            return cls(names, selector, is_loss, _finite_rows(scores.stages), pairs)
        assert isinstance(scores, ListedScores)
        paths = tuple(ScoredPath(path, _finite(score)) for path, score in scores.values.items())
        return cls(names, selector, is_loss, paths=paths)

    @property
    def scores(self) -> PathScores:
        """The scores, as a selection reads them."""
        if self.paths:
            return ListedScores({each.path: _number(each.score) for each in self.paths})
        stages = [[_number(value) for value in row] for row in self.stages]
        if not self.pairs:
            return StageScoreTable(self.candidates, stages)
        pairs = [[[_number(value) for value in row] for row in table] for table in self.pairs]
        return ChainScores(self.candidates, stages, pairs)


def _finite_rows(table: Sequence[Sequence[float]]) -> Rows:
    return tuple(tuple(map(_finite, row)) for row in table)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return -math.inf if value is None else value
