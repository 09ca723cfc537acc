"""The results under benchmarks/ fit the present schema, and a page can be rendered from each that has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manticore.nas.bench import HybridBench
from manticore.report.study.page import render_study
from manticore.report.transfer.page import render_transfer
from manticore.results.codec import decode, encode
from manticore.results.growth import GrowthResult
from manticore.results.strategies import StrategyBench
from manticore.results.study import StudyResult
from manticore.results.transfer import TransferResult
from tests.helpers.html import Reader

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
FILES = [file for file in sorted(FOLDER.glob("*.json")) if "format" in json.loads(file.read_text(encoding="utf-8"))]


def test_results_are_shipped() -> None:
    assert len(FILES) >= 9


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_result_is_read_and_has_a_page(file: Path) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    number = data.pop("format")
    if "tables" in data:
        searches = decode(StrategyBench, data, file)
        assert (number, encode(searches)) == (StrategyBench.FORMAT, data)
        for name, table in searches.tables.items():
            assert HybridBench.load(name).best().path == table.best, "the table is shipped, too"
        return
    if "layers" in data:
        assert (number, encode(decode(GrowthResult, data, file))) == (GrowthResult.FORMAT, data)
        return
    if "tasks" in data:
        study = decode(StudyResult, data, file)
        assert (number, encode(study)) == (StudyResult.FORMAT, data)
        page = render_study(study)
    else:
        transfer = decode(TransferResult, data, file)
        assert (number, encode(transfer)) == (TransferResult.FORMAT, data)
        page = render_transfer(transfer)
    assert all(Reader(page).labels)
