"""The page, tables and sentences of a transfer: every number, and no more certainty than the intervals allow."""

from __future__ import annotations

from dataclasses import asdict
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
from manticore.results.transfer import TransferResult
from manticore.utils.io import write_json
from manticore.utils.statistics import Interval
from tests.helpers import study_results
from tests.helpers.html import Reader, assert_self_contained


def interval(*args: Any) -> dict[str, Any]:
    """An interval as JSON has it."""
    return asdict(study_results.interval(*args))


PATHS = {"one one": (0.30, 0.40), "one two": (0.50, 0.60), "two one": (0.40, 0.52), "two two": (0.45, 0.50)}


def found() -> dict[str, Any]:
    """What `manticore transfer` leaves: two proxies, the target's own models, three seeds."""

    def standing(name: str, path: str | None, mean: float, place: int | None) -> dict[str, Any]:
        return {
            "name": name,
            "path": path and path.split(),
            "accuracy": interval(mean),
            "lead": interval(mean - 0.5, 0.03),
            "regret": interval(0.6 - mean, 0.01) if path else None,
            "place": place,
        }

    def correlation(proxy: str, *means: float) -> dict[str, Any]:
        pairs = zip(("accuracy", "log_weight"), means, strict=True)
        return {"proxy": proxy, **{key: interval(mean, 0.3, 4) for key, mean in pairs}}

    return {
        "manticore": "0.1.0",
        "machine": {"cpu": "some processor", "cores": 2, "gpu": None, "python": "3.11.2"},
        "workers": 2,
        "seconds": 3312.0,
        "seeds": [0, 1, 2],
        "learning_rates": [0.001, 0.002],
        "components": ["gpt-neo", "mamba"],
        "proxies": [{"task": "mad-copying"}, {"task": "mad-recall"}],
        "target": {"task": "lra-x", "metric": "accuracy", "base": "two", "components": ["one", "two"]},
        "programmed": ["two", "one"],
        "standings": [
            standing("programmed path", "two one", 0.52, 2),
            standing("best on the proxies", "one two", 0.6, 1),
            standing("two alone", "two two", 0.5, 3),
            standing("one alone", None, 0.45, None),
            standing("best path", "one two", 0.6, 1),
            standing("median path", "two one", 0.52, 2),
        ],
        "search": {
            **standing("search on the target", None, 0.58, None),
            "path": "one · two (3 of 3 seeds)",
            "correlation": interval(0.9, 0.05, 4),
        },
        "correlations": [
            correlation("mad-copying", 0.1, -0.2),
            correlation("mad-recall", 0.5, 0.6),
            correlation("all proxies", 0.4, -0.25),
        ],
        "costs": [
            {"name": "one search on each proxy", "tokens": 1_000_000, "flops": 2e11},
            {"name": "every path on each proxy", "tokens": 4_000_000, "flops": 6e11},
            {"name": "one search on the target", "tokens": 9_000_000, "flops": 4e12},
            {"name": "every path on the target", "tokens": 36_000_000, "flops": 1e13},
        ],
        "paths": [
            {
                "path": path.split(),
                "proxies": {"mad-copying": interval(proxy + 0.1), "mad-recall": interval(proxy - 0.1)},
                "proxy": interval(proxy),
                "log_weight": -3.5,
                "accuracy": interval(reached),
            }
            for path, (proxy, reached) in PATHS.items()
        ],
    }


def page(folder: Path, held: Any) -> Reader:
    write_json(folder / "program.json", held)
    return Reader(write_transfer_report(folder).read_text(encoding="utf-8"))


def shown(table: Table, width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table.rich())
    return out.getvalue()


def test_page_is_self_contained(tmp_path: Path) -> None:
    write_json(tmp_path / "program.json", found())
    written = write_transfer_report(tmp_path)
    assert written == tmp_path / "report.html"
    assert_self_contained(written.read_text(encoding="utf-8"))


def test_page_shows_every_number(tmp_path: Path) -> None:
    words = page(tmp_path, found()).plain_text
    for said in (
        "manticore 0.1.0 · 4 paths · 2 proxies · 3 seeds one + two: a path transferred to lra-x",
        "Bars and margins are 95% confidence intervals over 3 seeds",
        "On the target, gpt-neo is one and mamba is two.",
        "programmed path: two · one 52.0 ± 2.0 % +2.0 ± 3.0 8.0 ± 1.0 2",
        "one alone 45.0 ± 2.0 % −5.0 ± 3.0 – –",
        "search on the target: one · two (3 of 3 seeds) 58.0 ± 2.0 %",
        "mad-copying 0.10 (−0.20 to 0.40) −0.20 (−0.50 to 0.10)",
        "all proxies 0.40 (0.10 to 0.70) −0.25 (−0.55 to 0.05)",
        "one search on each proxy 1.0 M 200 B",
        "one · two 60.0 ± 2.0 % 50.0 ± 2.0 % 60.0 ± 2.0 % 40.0 ± 2.0 % −3.50",
        "the best of 0.001 and 0.002 on the validation split; all paths have that of two alone",
        "GPU none",
        "55 min 12 s with 2 workers",
    ):
        assert said in words, said


def test_chart_has_a_dot_for_each_path_and_labels_two(tmp_path: Path) -> None:
    reader = page(tmp_path, found())
    (label,) = reader.labels
    assert label.startswith("accuracy on lra-x against accuracy on the 2 proxies: one · two: 50.0 ± 2.0 % on the 2")
    assert [tag for tag, _ in reader.tags].count("circle") == 4
    names = [attrs for tag, attrs in reader.tags if tag == "text" and attrs.get("class") == "name bold"]
    assert [attrs["fill"] for attrs in names].count("var(--accent)") == 1
    assert "\nchosen\n" in reader.text
    assert "\ntwo alone\n" in reader.text


def test_sentences_have_no_more_certainty_than_the_numbers() -> None:
    said = sentences(TransferResult.of(found()))
    assert said == [
        "The searches on mad-copying and mad-recall choose two · one, which ranks 2 of 4 on lra-x with 52.0 ± 2.0 %. "
        "Its difference to two alone is +2.0 ± 3.0 points; the interval includes zero.",
        "It is 8.0 ± 1.0 points below the best path, one · two, which is selected by test scores; "
        "the interval excludes zero.",
        "Over all 4 paths the rank correlation of mean accuracy on the proxies with accuracy on lra-x is "
        "0.40 (0.10 to 0.70); the interval excludes zero.",
        "Over all 4 paths the rank correlation of the log weights of the searches on the proxies with accuracy on "
        "lra-x is −0.25 (−0.55 to 0.05); the interval includes zero, so it may be chance.",
        "A search on lra-x itself reaches 58.0 ± 2.0 %; the rank correlation of its own log weights is "
        "0.90 (0.85 to 0.95).",
        "With one seed, one search on each proxy takes 1.0 M tokens and 200 B FLOPs, "
        "one search on the target 9.0 M tokens and 4.0 T FLOPs.",
    ]


def test_what_was_not_measured_is_omitted() -> None:
    held = found()
    held["search"], held["costs"][2]["flops"] = None, None
    held["standings"][0] = {**held["standings"][2], "name": "programmed path", "regret": interval(0.1, None, 1)}
    held["correlations"][-1].update(accuracy=None, log_weight={"mean": 1.0, "low": None, "high": None, "count": 2})
    said = " ".join(sentences(TransferResult.of(held)))
    assert "This path is two alone. It is 10.0 points below" in said
    assert "there is no interval" in said
    assert "is undefined: one of the two is the same for all paths" in said
    assert "is 1.00; there are too few paths for an interval" in said
    assert "itself reaches" not in said
    assert "9.0 M tokens and an unmeasured number of FLOPs" in said


def test_nothing_is_below_the_best_path() -> None:
    held = found()
    held["standings"][0] = {**held["standings"][4], "name": "programmed path"}
    assert "No path is better." in sentences(TransferResult.of(held))


def test_terminal_has_every_number() -> None:
    told = TransferResult.of(found())
    lines = shown(target_table(told))
    assert "programmed path: two · one" in lines
    assert "52.0 ± 2.0 %" in lines
    assert "search on the target" in lines
    assert "0.40 (0.10 to 0.70)" in shown(proxy_table(told))
    narrow = shown(target_table(told), 80)
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert "58.0 ± 2.0 %" in narrow


def test_one_proxy_is_listed_once() -> None:
    held = found()
    held["proxies"] = held["proxies"][:1]
    held["correlations"] = [held["correlations"][0], {**held["correlations"][0], "proxy": "all proxies"}]
    for row in held["paths"]:
        del row["proxies"]["mad-recall"]
    assert "all proxies" not in shown(proxy_table(TransferResult.of(held)))


def test_an_undefined_correlation_is_named() -> None:
    held = found()
    held["correlations"][0]["accuracy"] = None
    held["correlations"][1]["accuracy"] = {"mean": -0.5, "low": None, "high": None, "count": 3}
    assert [row.cells[1] for row in proxy_table(TransferResult.of(held)).rows][:2] == ["undefined", "−0.50"]


def test_one_path_alone_can_be_drawn() -> None:
    lone = Interval(0.5, None, None, 1)
    assert Reader(scatter_chart([Dot(lone, lone, "red", "it", "it")], "x", "y")).labels == ["y against x: it"]


@pytest.mark.parametrize("spoilt", [[], {}, {**found(), "paths": [{}]}, {**found(), "standings": [{"name": "x"}]}])
def test_other_data_is_refused(tmp_path: Path, spoilt: Any) -> None:
    with pytest.raises(BadFile, match=r"program.json: "):
        page(tmp_path, spoilt)


def test_names_are_escaped(tmp_path: Path) -> None:
    held = found()
    held["target"]["task"] = "<b>x"
    assert "<b>x" in page(tmp_path, held).text
    assert "[red]x" in shown(target_table(TransferResult.of({**held, "target": {**held["target"], "task": "[red]x"}})))
