"""The page of a benchmark of strategies, and its chart: regret against the share of tokens spent on searching."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from manticore.errors import BadFile
from manticore.pipelines import report
from manticore.report.charts import regret
from manticore.report.charts.regret import RegretDot, RegretPanel, regret_chart
from manticore.report.strategy_page import COLORS, method_kind, regret_panels, render_strategies
from manticore.results.strategies import StrategyBench
from tests.helpers.html import Reader, assert_self_contained

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the shipped results."""
    shutil.copy(ROOT / "benchmarks" / "results" / "strategies-cpu.json", tmp_path / StrategyBench.FILE)
    return tmp_path


def dot(name: str, share: float, value: float, **more: object) -> RegretDot:
    values = {"low": value, "high": value, "color": "var(--c0)", "tooltip": f"{name}: {value}", **more}
    return RegretDot(name, share, value, **values)  # type: ignore[arg-type]


def circles(svg: str) -> list[tuple[float, float]]:
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_the_page_has_every_method_of_every_table(folder: Path) -> None:
    page = report.run(folder).read_text()
    assert_self_contained(page)
    reader, result = Reader(page), StrategyBench.load(folder)
    labels = [label for label in reader.labels if "regret against tokens spent" in label]
    assert [label.partition(",")[0] for label in labels] == ["mean over 3 tables", *result.tables]
    for label, table in zip(labels[1:], result.tables, strict=True):
        for method in result.methods:
            mean, share = (result.mean(table, method, field) for field in ("regret", "token_share"))
            assert mean is not None and share is not None  # noqa: PT018
            assert f"{method}: {mean:.1f} points, {100 * share:.1f} % of all tokens" in label
        assert "random path: " in label
    assert "mad-in-context-recall: the best of 8 paths is mamba · mamba · mamba; uniform" in reader.plain_text
    assert reader.plain_text.count("tokens spent FLOPs spent paths chosen") == 3


def test_the_mean_over_tables_is_of_methods_that_all_have(folder: Path) -> None:
    result = StrategyBench.load(folder)
    first, mean = next(iter(result.tables)), regret_panels(result)[0]
    value = sum(trial.regret for trial in result.trials if trial.method == "fair") / 6
    assert next(dot for dot in mean.dots if dot.name == "fair").regret == pytest.approx(value)
    without = tuple(trial for trial in result.trials if (trial.table, trial.method) != (first, "fair"))
    panels = regret_panels(replace(result, trials=without))
    assert "fair" not in [dot.name for dot in panels[0].dots]
    assert "fair" in [dot.name for dot in panels[2].dots]
    alone = replace(result, tables={first: result.tables[first]})
    assert [panel.title for panel in regret_panels(alone)] == [first]


def test_every_chart_is_a_file_in_both_colors(folder: Path) -> None:
    report.run(folder)
    files = sorted((folder / "regret").iterdir())
    assert [file.name for file in files] == [
        *("mad-fuzzy-recall.svg", "mad-in-context-recall.svg", "mad-selective-copying.svg", "mean-over-3-tables.svg")
    ]
    root = ElementTree.parse(files[0]).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    (style,) = (child.text or "" for child in root if child.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in style
    assert ".chart .tick" in style
    assert "body" not in style
    used = set(re.findall(r"var\((--\w+)\)", files[0].read_text()))
    assert all(f"{name}:" in style for name in used)


def test_the_charts_of_the_documentation_are_those_of_the_shipped_results(folder: Path) -> None:
    report.run(folder)
    shipped = ROOT / "docs" / "assets" / "regret"
    assert {file.name for file in shipped.iterdir()} == {file.name for file in (folder / "regret").iterdir()}
    for file in (folder / "regret").iterdir():
        assert (shipped / file.name).read_text() == file.read_text(), file.name


def test_kinds_of_methods_have_colors() -> None:
    names = ("darts+evaluated", "uniform@search.steps=400", "halving", "zero-shot", "of-a-user")
    kinds = [method_kind(name) for name in names]
    expected = ["gradients of alphas", "supernet of sampled paths", "paths by themselves", "without training"]
    assert kinds == [*expected, "gradients of alphas"]
    assert len({COLORS[kind] for kind in kinds}) == 4


def test_dots_lie_at_share_and_root_of_regret() -> None:
    panel = RegretPanel("t", "points", 1, (dot("a", 0.5, 16.0), dot("b", 0.25, 4.0), dot("c", 0.0, 0.0, hollow=True)))
    (x0, y0), (x1, y1), (x2, y2) = circles(regret_chart(panel))
    assert (x0, y0) == (regret.LEFT, regret.HEIGHT - regret.BOTTOM)
    assert x2 - x0 == pytest.approx(2 * (x1 - x0), abs=0.05)
    assert y2 - y0 == pytest.approx(2 * (y1 - y0), abs=0.05)
    assert (x2, y2) > (x1, regret.TOP)


def test_names_do_not_overlap_where_there_is_room() -> None:
    names = ["uniform", "fair", "full-layout", "darts+evaluated"]
    svg = regret_chart(RegretPanel("t", "points", 1, (*(dot(name, 0.3, 0.0) for name in names), dot("far", 0.4, 30.0))))
    lines = [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" text_anchor', svg.replace("-", "_"))]
    texts = re.findall(r'<text text-anchor="(\w+)" [^>]*class="point" x="([\d.]+)" y="([\d.]+)"', svg)
    assert len(texts) == 5, lines
    assert len({(anchor, y) for anchor, _, y in texts}) == 5


def test_a_page_without_trials_has_the_choices_without_a_search(folder: Path) -> None:
    result = replace(StrategyBench.load(folder), trials=())
    assert "random path" in render_strategies(result)


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / StrategyBench.FILE).write_text("{}")
    with pytest.raises(BadFile, match=StrategyBench.FILE):
        report.run(folder)
