"""The score that the searches of a study give to each path, whatever their strategy and selector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from manticore.nas.choices import Choices, skips_all


def mean_search_scores(results: Iterable[Mapping[str, Any]], choices: Choices) -> list[float]:
    """The score of each path, larger being better, mean over the searches that did not diverge; empty without one.

    Paths are in the order of `choices.paths()`, without the one that skips all stages. A path without a score, such as
    one whose training diverged, gets the lowest score of that search.

    Args:
        results: of the trials of a study's searches, one for each seed.
        choices: of the space that they search.
    """
    searches = [_scores(result, choices) for result in results if result["scores"]]
    return [fmean(scores) for scores in zip(*searches, strict=True)]


def _scores(result: Mapping[str, Any], choices: Choices) -> list[float]:
    scores = [score for path, score in zip(choices.paths(), result["scores"], strict=True) if not skips_all(path)]
    least = min((score for score in scores if score is not None), default=0.0)
    return [least if score is None else score for score in scores]
