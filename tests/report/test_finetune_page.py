"""The table of changes of stages, and the page of a fine-tuning with them and with domains left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.report.analysis import analysis_caption, analysis_table
from manticore.report.finetune_page import has_page, leave_one_out_table, write_finetune_report
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import read_run
from manticore.results.analysis import HybridAnalysis, StageAnalysis
from manticore.results.leave_one_out import LeaveOneOut
from manticore.results.search import SplitScore
from manticore.results.training import FinetuneScores
from manticore.training.metrics import BITS
from tests.helpers.html import Reader, assert_self_contained

ANALYSIS = HybridAnalysis(
    start="the weights of the components",
    tolerance=1e-5,
    reference="mamba alone",
    sequences=32,
    stages=(
        StageAnalysis("mamba", 1200, 0.125, 1.0, 0.5, 0.25),
        StageAnalysis("skip", 0, None, None, None, 0.5),
    ),
)

MIX = LeaveOneOut(
    task="text",
    metric=BITS,
    steps=40,
    before={"a.txt": 3.0, "b.txt": 3.5},
    mix={"a.txt": 2.0, "b.txt": 2.5},
    without={"a.txt": {"a.txt": 2.4, "b.txt": 2.45}, "b.txt": {"a.txt": 2.1, "b.txt": 3.0}},
)


def test_effects_are_positive_where_a_domain_helps() -> None:
    assert MIX.effect("b.txt", "a.txt") == pytest.approx(0.1)
    assert MIX.effect("a.txt", "b.txt") == pytest.approx(-0.05)
    cells = [row.cells for row in leave_one_out_table(MIX).rows]
    assert cells == [
        ("before", "3.000", "3.500"),
        ("trained on all", "2.000", "2.500"),
        ("what a.txt adds", "+0.400", "−0.050"),
        ("what b.txt adds", "+0.100", "+0.500"),
    ]


def test_the_table_of_changes_has_a_dash_where_nothing_was_trained() -> None:
    table = analysis_table(ANALYSIS)
    assert table.columns[-1] == "FSP distance"
    assert [row.cells for row in table.rows] == [
        ("1: mamba", "1.2 k", "12.5 %", "100.0 %", "50.0 %", "0.250"),
        ("2: skip", "–", "–", "–", "–", "0.500"),
    ]
    assert "32 validation sequences" in analysis_caption(ANALYSIS)


def test_without_a_reference_there_are_no_distances() -> None:
    analysis = HybridAnalysis(ANALYSIS.start, 1e-5, None, 0, (StageAnalysis("mamba", 12, 0.0, 0.0, 0.0, None),))
    assert "FSP" not in "".join(analysis_table(analysis).columns) + analysis_caption(analysis)


def test_results_are_read_as_they_are_written(tmp_path: Path) -> None:
    ANALYSIS.save(tmp_path)
    MIX.save(tmp_path)
    assert (HybridAnalysis.load(tmp_path), LeaveOneOut.load(tmp_path)) == (ANALYSIS, MIX)


def test_the_page_of_a_search_shows_its_analysis(run_folder: Path) -> None:
    assert "Changes of each stage" not in write_run_report(read_run(run_folder)).read_text("utf-8")
    ANALYSIS.save(run_folder)
    page = write_run_report(read_run(run_folder)).read_text("utf-8")
    assert_self_contained(page)
    text = Reader(page).plain_text
    assert "Changes of each stage" in text
    assert "1: mamba 1.2 k 12.5 % 100.0 % 50.0 % 0.250" in text


def test_the_page_of_a_fine_tuning_shows_what_there_is(tmp_path: Path) -> None:
    FinetuneScores("text", BITS, SplitScore(3.2, 0.1, 2.2, 9), SplitScore(2.2, 0.1, 1.5, 9), 40, 5120).save(tmp_path)
    assert not has_page(tmp_path)
    MIX.save(tmp_path)
    assert has_page(tmp_path)
    page = write_finetune_report(tmp_path).read_text("utf-8")
    assert_self_contained(page)
    text = Reader(page).plain_text
    assert "3.200 ± 0.100 bits per byte before the training and 2.200 ± 0.100 bits per byte after it" in text
    assert "what b.txt adds +0.100 +0.500" in text
    assert "Changes of each stage" not in text
    ANALYSIS.save(tmp_path)
    assert "Changes of each stage" in write_finetune_report(tmp_path).read_text("utf-8")
