"""The mixing weights that a path was chosen by, with their spread over the end of the search."""

from __future__ import annotations

from statistics import stdev

import pytest

from manticore.nas.stage_scores import StageScores, weight_scores


def test_weights_are_those_of_the_end_with_their_spread_over_the_last_quarter() -> None:
    series = [0.5, 0.5, 0.5, 0.5, 0.55, 0.6, 0.7, 0.8]
    scores = weight_scores(("a", "b"), [((value, 1 - value),) for value in series])
    assert scores.values == ((0.8, pytest.approx(0.2)),)
    assert scores.spread == ((pytest.approx(stdev(series[-2:])),) * 2,)
    assert scores.spread_at(0, 1) == pytest.approx(stdev(series[-2:]))
    assert "over the last 2 recorded steps" in scores.spread_of


def test_one_record_has_no_spread() -> None:
    scores = weight_scores(("a", "b"), [((0.3, 0.7),)])
    assert (scores.spread, scores.spread_at(0, 0), scores.spread_of) == (None, None, "")


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of 2 candidates at each stage"):
        StageScores("measure", "", False, ("a", "b"), ((0.1, 0.2), (0.3,)))
