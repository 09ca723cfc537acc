"""The page of a run: complete, self-contained, escaped, with the numbers of the run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manticore.errors import BadFile, ManticoreError
from manticore.nas.architecture import Architecture
from manticore.nas.stage_scores import StageScores
from manticore.report.charts.curves import axis_ticks, smoothed, thinned
from manticore.report.model_card import search_card
from manticore.report.rendering import breakable
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import read_run
from manticore.report.run.tables import lead_table
from manticore.results.search import DiscretizationGap, SearchResult, SplitScore
from manticore.training.metrics import BITS
from manticore.utils.io import read_json, write_json, write_text
from manticore.utils.statistics import Interval
from tests.helpers.html import Reader, assert_self_contained


def read(folder: Path) -> Reader:
    return Reader(write_run_report(read_run(folder)).read_text(encoding="utf-8"))


def test_page_is_self_contained(run_folder: Path) -> None:
    assert_self_contained(write_run_report(read_run(run_folder)).read_text(encoding="utf-8"))


def test_charts_have_labels(run_folder: Path) -> None:
    labels = read(run_folder).labels
    assert all(labels)
    assert any(
        label.startswith("The selected path: stage 1 mamba · stage 2 gpt-neo · stage 3 skip") for label in labels
    )
    assert sum(label.startswith("Mixing weights at stage") for label in labels) == 3
    losses = [label.split(":")[0] for label in labels if label.startswith("Training loss")]
    assert losses == [
        f"Training loss of {phase}"
        for phase in ("alone gpt-neo", "alone mamba", "search", "fine-tune", "uniform mixture", "random path")
    ]
    assert "mamba alone: 58.8 ± 1.5 %" in labels
    assert "search: 6 min 53 s" in labels


def test_page_shows_every_number(run_folder: Path) -> None:
    text = read(run_folder).plain_text
    assert "gpt-neo + mamba on lra-listops@short" in text
    assert "The search space has 27 paths: mamba, gpt-neo or skip at each of 3 stages, in the residual topology" in text
    assert "accuracy of 63.0 ± 1.5 % on the test split: better than mamba alone (58.8 ± 1.5 %) by 4.2 points" in text
    assert "better than root operator (37.9 ± 1.5 %) by 25.1 points" in text
    assert "61.2 % as a soft mixture and 58.1 % as one path, worse by 3.1 points; fine-tuning brings it to" in text
    assert "Exported: the hybrid, which is best (validation accuracy 62.4 %, best component mamba 57.9 %)" in text
    for cell in ("17.5 ± 1.2 %", "412 k", "5.5 M", "layers 2–3 · 0.", "1e76775f628f", "x86_64", "# <short>"):
        assert cell in text, cell


def test_names_are_escaped(make_run: Callable[..., Path]) -> None:
    folder = make_run(task='<b>&"quoted"')
    result = SearchResult.load(folder)
    first, *rows = result.rows
    machine = {**result.machine, "cpu": "<script>"}
    replace(result, rows=(replace(first, name="<i>alone"), *rows), machine=machine).save(folder)
    reader = read(folder)
    assert '<b>&"quoted"' in reader.text
    assert "<i>alone" in reader.text
    assert not {"b", "script"} & {tag for tag, _ in reader.tags}


def test_parts_without_data_are_omitted(run_folder: Path) -> None:
    headings = ("Mixing weights", "Training loss", "Time", "Recipe")
    text = read(run_folder).text
    assert all(f"\n{heading}\n" in text for heading in headings)
    (run_folder / "alphas.jsonl").unlink()
    (run_folder / "recipe.yaml").unlink()
    shutil.rmtree(run_folder / "logs")
    result = SearchResult.load(run_folder)
    replace(result, seconds={}, rows=result.rows[:3]).save(run_folder)
    reader = read(run_folder)
    assert "\nSelected path\n" in reader.text
    assert not any(f"\n{heading}\n" in reader.text for heading in headings)


@pytest.mark.parametrize("stages", [1, 4, 5, 9])
def test_any_number_of_stages_is_drawn(make_run: Callable[..., Path], stages: int) -> None:
    path = [("mamba", "gpt-neo", "skip")[stage % 3] for stage in range(stages)]
    reader = read(make_run(path=path))
    assert all(f"stage {stage}" in reader.text for stage in range(1, stages + 1))


def test_hub_has_no_projectors(run_folder: Path) -> None:
    donor = read(run_folder).text
    Architecture(("gpt-neo", "mamba"), ("mamba", "gpt-neo", "mamba"), "mamba", "hub").save(
        run_folder / "architecture.json"
    )
    hub = read(run_folder).text
    assert "\nP\n" in donor
    assert "\nP\n" not in hub


def test_bits_per_byte_have_no_bars_and_lower_is_better(run_folder: Path, result: SearchResult) -> None:
    scores = (1.9, 2.0, 1.8, 1.9, 2.1)
    rows = [
        replace(row, score=SplitScore(value, 0.01, 1.2, 40)) for row, value in zip(result.rows, scores, strict=False)
    ]
    gap = DiscretizationGap(1.9, 2.0, 1.8)
    replace(result, metric=BITS, kind="lm", gap=gap, rows=tuple(rows)).save(run_folder)
    reader = read(run_folder)
    text = reader.plain_text
    assert "needs 1.800 ± 0.010 bits per byte on the test split: better than gpt-neo alone (1.900 ± 0.010) by" in text
    assert "1.900 bits per byte as a soft mixture and 2.000 bits per byte as one path, worse by 0.100 bits" in text
    assert not any(label.startswith("gpt-neo alone: ") for label in reader.labels)


def with_leads(result: SearchResult, lead: Interval) -> SearchResult:
    """The result with the same lead of the hybrid over every other row."""
    return replace(result, rows=tuple(row if row == result.hybrid else replace(row, lead=lead) for row in result.rows))


@pytest.mark.parametrize(
    ("lead", "cell", "verdict", "sentence"),
    [
        (
            Interval(0.02, 0.01, 0.03, 4000),
            "better by 2.0 ± 1.0",
            "better",
            "better than mamba alone (58.8 ± 1.5 %) by",
        ),
        (
            Interval(-0.02, -0.03, -0.01, 4000),
            "worse by 2.0 ± 1.0",
            "worse",
            "worse than mamba alone (58.8 ± 1.5 %) by",
        ),
        (Interval(0.01, -0.01, 0.03, 4000), "better by 1.0 ± 2.0", "unclear", "2.0 points, an interval that includes"),
    ],
)
def test_paired_leads_are_in_words_and_in_color(
    run_folder: Path, result: SearchResult, lead: Interval, cell: str, verdict: str, sentence: str
) -> None:
    with_leads(result, lead).save(run_folder)
    reader = read(run_folder)
    assert reader.plain_text.count(cell) >= len(result.rows) - 1
    assert sentence in reader.plain_text
    cells = [attrs.get("class") for tag, attrs in reader.tags if tag == "td" and "lead" in (attrs.get("class") or "")]
    assert cells == [*[f"number lead {verdict}"] * 2, "number lead ", *[f"number lead {verdict}"] * 6]
    assert "over the same 4,000 examples" in reader.plain_text
    assert f"| mamba alone | 58.8 ± 1.5 % | {cell} | 130 k" in search_card(read_run(run_folder))
    out = StringIO()
    table = lead_table(with_leads(result, lead))
    assert table is not None
    Console(file=out, width=80).print(table.rich())
    assert f"mamba alone                       {cell}".split() in [line.split() for line in out.getvalue().splitlines()]


def test_lower_bits_are_better_in_words(run_folder: Path, result: SearchResult) -> None:
    bits = replace(with_leads(result, Interval(-0.068, -0.09, -0.046, 16)), metric=BITS, kind="lm")
    bits.save(run_folder)
    text = read(run_folder).plain_text
    assert "than the best component worse by 0.068 ± 0.022 bits per byte over the same 16 documents" in text
    assert "+0.068" not in text


@pytest.mark.parametrize("lower", [True, False])
def test_the_page_says_why_the_path_was_chosen(run_folder: Path, result: SearchResult, lower: bool) -> None:
    scores = StageScores(
        measure="KL divergence" if lower else "mixing weight",
        unit="nats per token" if lower else "",
        lower_is_better=lower,
        candidates=("gpt-neo", "mamba", "skip"),
        values=((0.2, 0.0, 0.5), (0.1, 0.0, 0.4), (0.3, 0.0, 0.2)),
        spread=((0.05, 0.0, 0.01),) * 3,
        spread_of="standard error over 16 sequences",
        threshold=0.15 if lower else None,
        rule="A rule.",
    )
    replace(result, stage_scores=scores).save(run_folder)
    assert SearchResult.load(run_folder).stage_scores == scores
    reader = read(run_folder)
    assert "Why this path" in reader.plain_text
    assert "Margins: standard error over 16 sequences. A rule." in reader.plain_text
    assert ("lower is better" in reader.plain_text) == lower
    assert ("the dashed line, is 0.15" in reader.plain_text) == lower
    unit = " nats per token" if lower else ""
    assert f"stage 1, gpt-neo: 0.200 ± 0.050{unit}" in reader.labels
    assert reader.plain_text.count("chosen 0.") == 3


def test_a_phase_with_one_logged_point_has_no_panel(run_folder: Path) -> None:
    file = run_folder / "logs" / "csv" / "fine-tune" / "metrics.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:3]) + "\n")
    losses = [label.split(":")[0] for label in read(run_folder).labels if label.startswith("Training loss")]
    assert "Training loss of search" in losses
    assert "Training loss of fine-tune" not in losses


def test_long_names_may_break_and_are_cut_with_their_whole_as_title(make_run: Callable[..., Path]) -> None:
    name = "mad-fuzzy-recall@" + ",".join(f"key_{index}={index}" for index in range(12))
    assert str(breakable("a-b@c=1,d")) == "a-<wbr>b@<wbr>c=<wbr>1,<wbr>d"
    assert str(breakable("<b>-x")) == "&lt;b&gt;-<wbr>x"
    assert str(breakable(name)).startswith(f'<span title="{name}">mad-<wbr>fuzzy-<wbr>recall@<wbr>key_')
    assert "…" in str(breakable(name))


@pytest.mark.parametrize(
    ("exported", "sentence"),
    [
        ("hybrid", "Exported: the hybrid; mamba alone is better (validation"),
        ("mamba", "Exported: mamba alone, which is better than the hybrid (validation"),
    ],
)
def test_a_component_that_is_better_than_the_hybrid_is_named(
    run_folder: Path, result: SearchResult, exported: str, sentence: str
) -> None:
    replace(result, best_model="mamba", exported=exported).save(run_folder)
    assert sentence in read(run_folder).text.replace("\u00a0", " ")


def test_what_is_exported_is_the_hybrid_or_the_best_model(result: SearchResult) -> None:
    with pytest.raises(ValueError, match="'mamba' was exported, which is neither the hybrid nor the best model"):
        replace(result, exported="mamba")


def test_resumed_phase_is_one_curve(run_folder: Path) -> None:
    curve = next(curve for curve in read_run(run_folder).curves if curve.phase == "search")
    steps = [step for step, _ in curve.loss]
    assert steps == [*range(10, 200, 2), *range(200, 401, 2)]
    assert curve.alpha_loss[0][0] == 102


def test_a_name_that_ends_in_a_number_is_no_resumption(run_folder: Path) -> None:
    (run_folder / "logs" / "csv" / "fine-tune").rename(run_folder / "logs" / "csv" / "alone-qwen2.5")
    assert "alone-qwen2.5" in [curve.phase for curve in read_run(run_folder).curves]


@pytest.mark.parametrize("missing", ["metrics.json", "architecture.json"])
def test_no_run_folder_is_one_line(run_folder: Path, missing: str) -> None:
    (run_folder / missing).unlink()
    (run_folder / "recipe.yaml").unlink(missing_ok=True)
    with pytest.raises(ManticoreError, match=f"not the folder of a finished run.*{missing}") as caught:
        write_run_report(read_run(run_folder))
    assert "\n" not in str(caught.value)
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.json", "[]"),
        ("metrics.json", '{"format": 1, "rows": []}'),
        ("metrics.json", '{"format": 2}'),
        ("alphas.jsonl", "not json\n{}\n"),
        ("alphas.jsonl", '{"step": 1, "candidates": ["a"], "weights": [[1.0]]}\n'),
    ],
)
def test_bad_files_are_named(run_folder: Path, name: str, text: str) -> None:
    write_text(run_folder / name, text)
    with pytest.raises(BadFile, match=name):
        write_run_report(read_run(run_folder))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("rows", 4, "score", "value"), "high", r"rows\['mamba alone'\].score.value: expected a number, got 'high'"),
        (("rows", 4, "score"), {"value": 0.5}, r"rows\['mamba alone'\].score: has no 'margin'"),
        (("rows", 4, "score", "count"), 1.5, r"score.count: expected a whole number, got 1.5"),
        (("rows",), [], r"rows have no 'discretized, after fine-tuning'"),
        (("best_model",), "mamba2", r"rows have no 'mamba2 alone'"),
        (("metric",), "acuracy", r"metric: unknown metric 'acuracy'. Did you mean 'accuracy'"),
        (("seconds", "search"), None, r"seconds\['search'\]: expected a number, got None"),
        (("components", "mamba", "layer_boundaries"), [0, 4], r"not of the same run as architecture.json"),
        (("componets",), {}, r"unknown key 'componets'. Did you mean 'components'"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_damaged_value_is_named(run_folder: Path, keys: tuple[Any, ...], value: object, message: str) -> None:
    data = part = read_json(run_folder / "metrics.json")
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    write_json(run_folder / "metrics.json", data)
    with pytest.raises(BadFile, match=f"metrics.json: .*{message}") as caught:
        write_run_report(read_run(run_folder))
    assert "\n" not in str(caught.value)


def test_smoothing_keeps_steps_and_mean_of_a_flat_line() -> None:
    points = [(float(step), 2.0) for step in range(500)]
    assert smoothed(points) == points
    assert smoothed(points[:1]) == points[:1]
    assert thinned(points)[-1] == points[-1]
    assert len(thinned(points)) <= 301


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.18, 2.31), (5.4, 5.51), (0.0, 83.0), (2.0, 2.0)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = axis_ticks(low, high)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in ticks)
