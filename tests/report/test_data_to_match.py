"""Data to match, from the logged losses of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manticore.report.run.data_to_match import data_to_match
from manticore.report.run.page import render_run
from manticore.report.run.reading import Curve, Run, read_run
from manticore.results.search import SearchResult
from manticore.training.metrics import BITS
from tests.helpers.html import Reader

SOLO = [(10.0 * n, 1.1 if n == 19 else 0.9 if n == 20 else 2.0) for n in range(1, 21)]
"""The last tenth of 20 losses has the mean 1."""

HYBRID = [(10.0 * n, 2.0 if n <= 10 else 0.9) for n in range(1, 21)]
"""The mean of two losses is at most 1 from step 120 on."""


def run_with(folder: Path, hybrid: list[tuple[float, float]], recipe: str = "") -> Run:
    curves = (Curve("alone mamba", SOLO, []), Curve("fine-tune", hybrid, []))
    return replace(read_run(folder), curves=curves, recipe=recipe)


def test_the_share_counts_the_tokens_of_the_search(run_folder: Path) -> None:
    run = run_with(run_folder, HYBRID)
    matched = data_to_match(run)
    assert matched is not None
    assert (matched.component, matched.loss) == ("mamba alone", pytest.approx(1.0))
    # 4.12 M tokens before the fine-tuning and 120 of 200 steps of 1.36 M, of 5.48 M
    assert matched.share == pytest.approx((4.12 + 0.6 * 1.36) / 5.48)
    sentence = "the hybrid has the final loss of mamba alone (1.000 nats) after 90.1 % of the component's training"
    assert sentence in Reader(render_run(run)).plain_text


def test_a_loss_that_is_not_reached(run_folder: Path) -> None:
    matched = data_to_match(run_with(run_folder, [(step, 1.01) for step, _ in HYBRID]))
    assert matched is not None
    assert matched.share is None
    assert "does not reach the final loss of mamba alone" in matched.sentence


def test_losses_of_text_are_compared_in_bits_per_byte(run_folder: Path) -> None:
    run = run_with(run_folder, HYBRID)
    rows = {row.name: row for row in run.result.rows}
    scaled = {"mamba alone": 0.5, "discretized, after fine-tuning": 0.25}  # as if its tokens were twice as long
    changed = tuple(
        replace(row, score=replace(row.score, value=factor, loss=1.0)) if (factor := scaled.get(row.name)) else row
        for row in rows.values()
        if row.group in ("search",) or row.name == "mamba alone"
    )
    result: SearchResult = replace(run.result, metric=BITS, rows=changed)
    matched = data_to_match(replace(run, result=result))
    assert matched is not None
    # the component ends at 0.5 bits per byte, and all losses of the hybrid are at most 0.25 * 2
    assert (matched.loss, matched.unit) == (pytest.approx(0.5), "bits per byte")
    assert matched.share == pytest.approx((4.12 + 0.1 * 1.36) / 5.48)


@pytest.mark.parametrize(
    "recipe", ["finetune:\n  teacher: mamba\n", "finetune:\n  exits: [1, 2]\n", "search:\n  strategy: halving\n"]
)
def test_there_is_none_where_losses_are_not_comparable(run_folder: Path, recipe: str) -> None:
    assert data_to_match(run_with(run_folder, HYBRID, recipe)) is None


def test_there_is_none_without_logs_or_components(run_folder: Path) -> None:
    run = run_with(run_folder, HYBRID)
    assert data_to_match(replace(run, curves=run.curves[1:])) is None
    rows = tuple(row for row in run.result.rows if row.group != "component")
    assert data_to_match(replace(run, result=replace(run.result, rows=rows))) is None
    assert "Data to match" not in Reader(render_run(replace(run, curves=()))).plain_text
