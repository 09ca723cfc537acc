"""Accuracy and bits per byte: direction, and how values, changes and regrets are written."""

from __future__ import annotations

import math

import pytest

from manticore.errors import UnknownName
from manticore.report.charts.intervals import Scale, tick_labels
from manticore.training.metrics import ACCURACY, BITS, Metric, metrics, worst_scores
from manticore.training.scoring import Score
from tests.helpers.study_results import text_task


def test_direction() -> None:
    assert ACCURACY.best_of([0.2, 0.9, 0.5]) == 0.9
    assert BITS.best_of([1.2, 0.9, 1.5]) == 0.9
    assert math.isnan(BITS.best_of([]))
    assert (ACCURACY.sort_key(0.3), BITS.sort_key(0.3)) == (0.3, -0.3)
    assert (ACCURACY.better, BITS.better) == ("above", "below")


@pytest.mark.parametrize(
    ("metric", "value", "change", "regret"),
    [
        (ACCURACY, "63.0 ± 1.5 %", "−4.2 ± 1.9 points", "1.2 ± 0.4 points below"),
        (BITS, "0.630 ± 0.015 bits per byte", "−0.042 ± 0.019 bits per byte", "0.012 ± 0.004 bits per byte above"),
    ],
    ids=lambda value: value.name if isinstance(value, Metric) else "",
)
def test_format(metric: Metric, value: str, change: str, regret: str) -> None:
    assert metric.format(0.63, 0.015) == value
    assert metric.format_change(-0.042, 0.019) == change
    assert metric.format_regret(0.012, 0.004) == regret


def test_format_without_margin_and_without_unit() -> None:
    assert (ACCURACY.format(0.581), BITS.format(1.9124)) == ("58.1 %", "1.912 bits per byte")
    assert (ACCURACY.format(0.581, unit=False), BITS.format(1.9124, 0.01, unit=False)) == ("58.1 %", "1.912 ± 0.010")
    assert (ACCURACY.format_change(0.0, unit=False), BITS.format_change(0.05, unit=False)) == ("0.0", "+0.050")


def test_a_lead_is_in_words() -> None:
    """A sign would mean the opposite for bits and for accuracy."""
    assert ACCURACY.format_lead(0.042, 0.019) == "better by 4.2 ± 1.9 points"
    assert BITS.format_lead(-0.05, 0.01) == "worse by 0.050 ± 0.010 bits per byte"
    assert BITS.format_lead(0.05, unit=False) == "better by 0.050"
    assert (BITS.format_lead(0.0001), BITS.format_lead(-0.0001, 0.01)) == ("equal", "equal ± 0.010 bits per byte")


def test_a_score_is_written_by_its_metric() -> None:
    """A text of one document has no margin; the score is written without one."""
    assert Score(1.0, 0.625, 400).format() == "accuracy 62.5 ± 4.7 %"
    assert Score(1.0, 0.2, 8, bits_per_byte=1.9124).format() == "1.912 bits per byte"
    assert Score(1.0, 0.2, 8, bits_per_byte=1.9124, std_error=0.01).format() == "1.912 ± 0.020 bits per byte"


def test_no_score_is_worse_than_that_of_a_model_that_diverged() -> None:
    """Any byte can be coded with eight bits, so that a model with more is counted with eight."""
    for metric in (ACCURACY, BITS):
        for value in (0.0, 0.4, 1.0, 7.0, 8.0, 90.0):
            assert metric.sort_key(metric.value_of({metric.name: value})) >= metric.sort_key(metric.worst)
    assert BITS.value_of({"bits_per_byte": 90.0}) == BITS.value_of(worst_scores()) == 8.0


def test_an_axis_has_the_unit_of_the_metric() -> None:
    assert [text for _, text in tick_labels(Scale(0.65, 0.85, 100), ACCURACY)] == [
        "65 %",
        "70 %",
        "75 %",
        "80 %",
        "85 %",
    ]
    assert [text for _, text in tick_labels(Scale(1.91, 1.93, 100), BITS)][:2] == ["1.910", "1.915"]
    signed = [text for _, text in tick_labels(Scale(-0.02, 0.02, 100), BITS, signed=True)]
    assert signed == ["−0.02", "−0.01", "0", "+0.01", "+0.02"]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown metric .acuracy.\. Did you mean .accuracy"):
        metrics["acuracy"]


def test_the_best_of_a_task_is_the_lowest_bits_per_byte() -> None:
    task = text_task("text")
    assert task.best("tokens") == pytest.approx(1.17)
    assert task.ranked_paths[0].path == ("gpt-neo", "mamba")
