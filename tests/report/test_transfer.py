"""The page, tables and sentences of a transfer: every number, and no more certainty than the intervals allow."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manticore.errors import BadFile
from manticore.report.charts.scatter import Dot, scatter_chart
from manticore.report.table import Table
from manticore.report.transfer.page import write_transfer_report
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import proxy_table, target_table
from manticore.results.codec import decode, encode
from manticore.results.transfer import TransferResult
from manticore.training.metrics import ACCURACY
from manticore.utils.statistics import Interval
from tests.helpers.html import Reader, assert_self_contained
from tests.helpers.study_results import interval
from tests.helpers.transfer_results import transfer_result


def page(folder: Path, result: TransferResult) -> Reader:
    result.save(folder)
    return Reader(write_transfer_report(folder).read_text(encoding="utf-8"))


def shown(table: Table, width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table.rich())
    return out.getvalue()


def test_page_is_self_contained(tmp_path: Path) -> None:
    transfer_result().save(tmp_path)
    written = write_transfer_report(tmp_path)
    assert written == tmp_path / "report.html"
    assert_self_contained(written.read_text(encoding="utf-8"))


def test_page_shows_every_number(tmp_path: Path) -> None:
    text = page(tmp_path, transfer_result()).plain_text
    for expected in (
        "manticore 0.2.0 · 4 paths · 2 proxies · 3 seeds one + two: a path transferred to lra-x",
        "Bars and margins are 95% confidence intervals over 3 seeds",
        "On the target, gpt-neo is one and mamba is two.",
        "transferred path: two · one 52.0 ± 2.0 % better by 2.0 ± 3.0 8.0 ± 1.0 2",
        "one alone 45.0 ± 2.0 % worse by 5.0 ± 3.0 – –",
        "search on the target: one · two (3 of 3 seeds) 58.0 ± 2.0 %",
        "mad-copying 0.10 (−0.20 to 0.40) −0.20 (−0.50 to 0.10)",
        "all proxies 0.40 (0.10 to 0.70) −0.25 (−0.55 to 0.05)",
        "one search on each proxy 1.0 M 200 B",
        "one · two 60.0 ± 2.0 % 50.0 ± 2.0 % 60.0 ± 2.0 % 40.0 ± 2.0 % −3.50",
        "the best of 0.001 and 0.002 on the validation split; all paths have that of two alone",
        "GPU none",
        "55 min 12 s with 2 workers",
    ):
        assert expected in text, expected


def test_chart_has_a_dot_for_each_path_and_labels_two(tmp_path: Path) -> None:
    reader = page(tmp_path, transfer_result())
    (label,) = reader.labels
    assert label.startswith("accuracy on lra-x against accuracy on the 2 proxies: one · two: 50.0 ± 2.0 % on the 2")
    assert [tag for tag, _ in reader.tags].count("circle") == 4
    names = [attrs for tag, attrs in reader.tags if tag == "text" and attrs.get("class") == "name bold"]
    assert [attrs["fill"] for attrs in names].count("var(--accent)") == 1
    assert "\nchosen\n" in reader.text
    assert "\ntwo alone\n" in reader.text


def test_sentences_have_no_more_certainty_than_the_numbers() -> None:
    text = sentences(transfer_result())
    assert text == [
        "The searches on mad-copying and mad-recall choose two · one, which ranks 2 of 4 on lra-x with 52.0 ± 2.0 %. "
        "It is better than two alone by 2.0 ± 3.0 points; the interval includes zero.",
        "It is 8.0 ± 1.0 points below the best path, one · two, which is selected by test scores; "
        "the interval excludes zero.",
        "Over all 4 paths the rank correlation of mean accuracy on the proxies with accuracy on lra-x is "
        "0.40 (0.10 to 0.70); the interval excludes zero.",
        "Over all 4 paths the rank correlation of the scores of the searches on the proxies with accuracy on "
        "lra-x is −0.25 (−0.55 to 0.05); the interval includes zero, so it may be chance.",
        "A search on lra-x itself reaches 58.0 ± 2.0 %; the rank correlation of its own scores is 0.90 (0.85 to 0.95).",
        "With one seed, one search on each proxy takes 1.0 M tokens and 200 B FLOPs, "
        "one search on the target 9.0 M tokens and 4.0 T FLOPs.",
    ]


def with_chosen(result: TransferResult, index: int, regret: Interval | None) -> TransferResult:
    """The result whose transferred path is that of another arm."""
    chosen = replace(result.arms[index], name="transferred path", regret=regret)
    return replace(result, arms=(chosen, *result.arms[1:]))


def test_what_was_not_measured_is_omitted() -> None:
    result = with_chosen(transfer_result(), 2, interval(0.1, None, 1))
    costs, correlations = list(result.costs), list(result.correlations)
    costs[2] = replace(costs[2], flops=None)
    correlations[-1] = replace(correlations[-1], score=None, search_score=interval(1.0, None, 2))
    result = replace(result, search=None, costs=tuple(costs), correlations=tuple(correlations))
    text = " ".join(sentences(result))
    assert "This path is two alone. It is 10.0 points below" in text
    assert "there is no interval" in text
    assert "is undefined: one of the two is the same for all paths" in text
    assert "is 1.00; there are too few paths for an interval" in text
    assert "itself reaches" not in text
    assert "9.0 M tokens and an unmeasured number of FLOPs" in text


def test_nothing_is_below_the_best_path() -> None:
    assert "No path is better." in sentences(with_chosen(transfer_result(), 4, interval(0.0)))


def test_terminal_has_every_number() -> None:
    result = transfer_result()
    lines = shown(target_table(result))
    assert "transferred path: two · one" in lines
    assert "52.0 ± 2.0 %" in lines
    assert "search on the target" in lines
    assert "0.40 (0.10 to 0.70)" in shown(proxy_table(result))
    narrow = shown(target_table(result), 80)
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert "58.0 ± 2.0 %" in narrow


def test_one_proxy_is_listed_once() -> None:
    result = transfer_result()
    result = replace(
        result,
        proxies=result.proxies[:1],
        correlations=(result.correlations[0], replace(result.correlations[0], proxy="all proxies")),
        paths=tuple(replace(path, proxies={"mad-copying": path.proxy}) for path in result.paths),
    )
    assert "all proxies" not in shown(proxy_table(result))


def test_an_undefined_correlation_is_named() -> None:
    first, second, last = transfer_result().correlations
    first, second = replace(first, score=None), replace(second, score=interval(-0.5, None, 3))
    table = proxy_table(replace(transfer_result(), correlations=(first, second, last)))
    assert [row.cells[1] for row in table.rows][:2] == ["undefined", "−0.50"]


def test_one_path_alone_can_be_drawn() -> None:
    lone = Interval(0.5, None, None, 1)
    assert Reader(scatter_chart([Dot(lone, lone, "red", "it", "it")], ACCURACY, "x", "y")).labels == ["y against x: it"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paths": [{}]}, r"paths\[0\]: has no 'path'"),
        ({"paths": []}, "paths are empty"),
        ({"arms": [{"name": "x"}]}, r"arms\['x'\]: has no 'path'"),
        ({"arms": []}, "arms have no 'transferred path'"),
        ({"components": ["gpt-neo"]}, "1 components, but 2 of the target"),
    ],
)
def test_damaged_data_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadFile, match=f"^file: {message}"):
        decode(TransferResult, {**encode(transfer_result()), **change}, "file")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    transfer_result().save(tmp_path)
    assert TransferResult.load(tmp_path) == transfer_result()


def test_names_are_escaped(tmp_path: Path) -> None:
    result = transfer_result()
    assert "<b>x" in page(tmp_path, replace(result, target=replace(result.target, task="<b>x"))).text
    assert "[red]x" in shown(target_table(replace(result, target=replace(result.target, task="[red]x"))))
