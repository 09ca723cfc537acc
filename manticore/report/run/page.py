"""The page of a search: `report.html` in its run folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from manticore.report.analysis import analysis_caption, analysis_table
from manticore.report.charts.bars import score_bar, time_bar
from manticore.report.charts.curves import loss_panel, loss_range, weights_panel
from manticore.report.charts.palette import INK, Palette
from manticore.report.charts.path_diagram import draw_path
from manticore.report.machine import machine_facts
from manticore.report.rendering import render
from manticore.report.run.data_to_match import data_to_match
from manticore.report.run.front import front_caption, front_charts, front_table
from manticore.report.run.reading import Run
from manticore.report.run.summary import comparison_caption, figures, path_caption, sentences, stage_scores_caption
from manticore.report.run.tables import costs, lead_cell, score_cell, verdict
from manticore.results.search import ModelRow, SearchResult
from manticore.utils.formatting import duration
from manticore.utils.io import write_text

OPACITIES = {"component": 0.8, "heuristic": 0.3}


@dataclass(frozen=True)
class StageScoreRow:
    """The score of one candidate at one stage on the page.

    Attributes:
        stage: counted from 1.
        name, color: of the candidate.
        value: the score with its margin.
        bar: the score as a bar.
        is_chosen: whether the path takes the candidate.
    """

    stage: int
    name: str
    color: str
    value: str
    bar: Markup
    is_chosen: bool


@dataclass(frozen=True)
class ComparisonRow:
    """One row of the comparison on the page.

    Attributes:
        name, group, score: as in the result.
        lead: how much better or worse the hybrid is; empty for a page without leads.
        verdict: `better` or `worse` where the interval of the lead excludes zero; else empty.
        color: of the swatch; empty without one.
        bar: the score as a bar; None if the page has none.
        costs: numbers, which the template formats.
        is_hybrid, is_best: whether the row is that of the fine-tuned path, and of the best model by validation score.
    """

    name: str
    group: str
    score: str
    lead: str
    verdict: str
    color: str
    bar: Markup | None
    costs: tuple[float | None, ...]
    is_hybrid: bool
    is_best: bool


def write_run_report(run: Run) -> Path:
    """Write `report.html` into the run folder, and return its path."""
    file = run.folder / "report.html"
    write_text(file, render_run(run))
    return file


def render_run(run: Run) -> str:
    """The whole page."""
    result, palette = run.result, Palette(run.candidates)
    curves = [curve for curve in run.curves if len(curve.loss) > 1]  # one point is no curve
    losses = [curve.loss for curve in curves]
    alpha_losses = [curve.alpha_loss for curve in curves]
    y_range = loss_range(losses, alpha_losses) if losses else (0.0, 1.0)
    return render(
        "run.html.j2",
        title=f"{' + '.join(run.architecture.components)} on {result.task}",
        facts=[f"manticore {result.version}", f"seed {result.seed}"],
        run=run,
        palette=palette,
        figures=figures(result),
        sentences=sentences(run),
        path_caption=path_caption(run),
        diagram=draw_path(run, palette),
        path_facts=_path_facts(run),
        stage_scores=_stage_scores(run, palette),
        stage_scores_caption=stage_scores_caption(result.stage_scores) if result.stage_scores else "",
        comparison_caption=comparison_caption(result),
        comparison=_comparison(result, palette),
        front=None if run.front is None else front_table(run.front),
        front_charts=[] if run.front is None else front_charts(run.front, palette),
        front_caption="" if run.front is None else front_caption(run.front),
        analysis=None if run.analysis is None else analysis_table(run.analysis),
        analysis_caption="" if run.analysis is None else analysis_caption(run.analysis),
        data_to_match=None if (matched := data_to_match(run)) is None else matched.sentence,
        weight_panels=_weight_panels(run, palette),
        loss_panels=[loss_panel(curve.phase, curve.loss, curve.alpha_loss, y_range, palette) for curve in curves],
        has_alpha_loss=any(alpha_losses),
        phases=_phases(result, palette),
        machine={**machine_facts(result.machine), "preset": f"{result.preset} ({result.preset_reason})"},
    )


def _path_facts(run: Run) -> dict[str, object]:
    """Base model and topology, as names and values."""
    architecture = run.architecture
    projectors = f", {architecture.projector} projectors at donor stages" if run.has_base else ""
    return {
        "base model" if run.has_base else "embedding, head": f"{architecture.base} ({run.result.base_reason})",
        "topology": f"{architecture.topology}{projectors}",
    }


def _stage_scores(run: Run, palette: Palette) -> list[StageScoreRow]:
    """A row for each candidate of each stage; empty for results without scores."""
    scores = run.result.stage_scores
    if scores is None:
        return []
    columns = [(name, scores.candidates.index(name)) for name in run.candidates if name in scores.candidates]
    highest = max(
        value + (scores.spread_at(stage, column) or 0)
        for stage, row in enumerate(scores.values)
        for column, value in enumerate(row)
    )
    end = 1.0 if not scores.lower_is_better else (highest or 1.0)
    reference = None if scores.threshold is None else (scores.threshold / end, f"mean {scores.threshold:.3g}")
    rows = []
    for stage, chosen in enumerate(run.architecture.path):
        for name, column in columns:
            if name not in run.choices.names(stage):
                continue
            value, spread = scores.values[stage][column], scores.spread_at(stage, column)
            text = f"{value:.3f}" + (f" ± {spread:.3f}" if spread else "")
            label = f"stage {stage + 1}, {name}: {text} {scores.unit}".rstrip()
            margin, opacity = (spread / end if spread else None), 0.95 if name == chosen else 0.4
            bar = score_bar(max(0.0, value) / end, margin, label, palette[name], opacity, reference)
            rows.append(StageScoreRow(stage + 1, name, palette[name], text, bar, name == chosen))
    return rows


def _comparison(result: SearchResult, palette: Palette) -> list[ComparisonRow]:
    """All rows, with bars if the metric is a share."""
    end = _bar_end(result)
    has_leads = any(row.lead is not None for row in result.rows)
    rows = []
    for row in result.rows:
        color = palette.of_phase(row.name)
        rows.append(
            ComparisonRow(
                name=row.name,
                group=row.group,
                score=score_cell(row, result.metric),
                lead=lead_cell(row, result.metric) if has_leads else "",
                verdict=verdict(row.lead),
                color="" if color == INK else color,
                bar=_score_bar(result, row, color, end) if end else None,
                costs=costs(row),
                is_hybrid=row == result.hybrid,
                is_best=row == result.best_row,
            )
        )
    return rows


def _bar_end(result: SearchResult) -> float:
    """Value at the right end of the bars: the next tenth above all of them. 0 for a metric that is not a share."""
    if result.metric.range != (0.0, 1.0):
        return 0.0
    highest = max(row.score.value + (row.score.margin or 0) for row in result.rows)
    return min(1.0, math.ceil(10 * highest + 0.01) / 10)


def _score_bar(result: SearchResult, row: ModelRow, color: str, end: float) -> Markup:
    """The score of a row, with a dashed line at the best heuristic."""
    margin, heuristic, reference = row.score.margin, result.best("heuristic"), None
    if heuristic is not None:
        reference = (heuristic.score.value / end, f"best heuristic: {score_cell(heuristic, result.metric)}")
    label = f"{row.name}: {score_cell(row, result.metric)}"
    opacity = OPACITIES.get(row.group, 0.95 if row == result.hybrid else 0.5)
    return score_bar(row.score.value / end, None if margin is None else margin / end, label, color, opacity, reference)


def _weight_panels(run: Run, palette: Palette) -> list[Markup]:
    """One panel per stage; empty if the search trained no mixing weights."""
    if run.alphas is None or len(run.alphas.steps) < 2:
        return []
    return [
        weights_panel(stage, chosen, {name: run.alphas.series(stage, name) for name in names}, palette)
        for stage, chosen in enumerate(run.architecture.path)
        if (names := [name for name in run.candidates if name in run.choices.names(stage)])
    ]


def _phases(result: SearchResult, palette: Palette) -> list[tuple[str, float, Markup]]:
    """(name, seconds, bar) of every phase; the longest phase has the longest bar."""
    longest = max(result.seconds.values(), default=0.0) or 1.0
    return [
        (name, seconds, time_bar(seconds / longest, f"{name}: {duration(seconds)}", palette.of_phase(name)))
        for name, seconds in result.seconds.items()
    ]
