"""The tables of the page: comparison, time, components, machine. Knows nothing of the page around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby

from manticore.report.charts.palette import INK, Palette
from manticore.report.markup import Html, el, picture
from manticore.report.paper import definitions
from manticore.report.run.reading import Run
from manticore.report.run.table import COSTS, cost_cells, score_cell
from manticore.results.search import ModelRow, SearchResult
from manticore.utils.formatting import DASH, count, duration

BAR_W, BAR_H = 144, 16
MACHINE = {
    "cpu": "processor",
    "cores": "cores",
    "gpu": "GPU",
    "python": "Python",
    "torch": "torch",
    "transformers": "transformers",
}


def comparison_table(run: Run, palette: Palette) -> Html:
    """Every row with its bar; groups are set apart and the heuristics last and pale."""
    scale = bar_scale(run.result)
    bars = [""] if scale else []
    head = el(
        "tr",
        el("th", "model", scope="col"),
        el("th", run.result.metric.label, scope="col", class_="number"),
        *(el("th", text, scope="col") for text in bars),
        *(el("th", text, scope="col", class_="number") for text in COSTS),
    )
    bodies = (
        el("tbody", *(_row(run.result, row, palette, scale) for row in rows), class_=group)
        for group, rows in groupby(run.result.rows, key=lambda row: row.group)
    )
    return el("div", el("table", el("thead", head), *bodies), class_="scroll")


def bar_scale(result: SearchResult) -> float:
    """The value at the right end of the bars, the next tenth above all of them; 0 without bars, which need a share."""
    if result.metric.range != (0.0, 1.0):
        return 0.0
    tops = [row.score.value + (row.score.margin or 0) for row in result.rows]
    return min(1.0, math.ceil(10 * max(tops) + 0.01) / 10)


def _row(result: SearchResult, row: ModelRow, palette: Palette, scale: float) -> Html:
    colour = palette.of_phase(row.name)
    swatch = el("i", style=f"background:{colour}") if colour != INK else None
    exact = (row.parameters, row.flops_per_token, row.train_tokens)
    cells = (
        el("td", text, class_="number", title=None if value is None else f"{value:,.0f}")
        for text, value in zip(cost_cells(row), exact, strict=True)
    )
    return el(
        "tr",
        el("td", swatch, row.name, el("span", "exported", class_="tag") if row == result.exported_row else None),
        el("td", score_cell(row, result.metric), class_="number"),
        el("td", _bar(result, row, colour, scale), class_="bar") if scale else None,
        *cells,
        class_="chosen" if row == result.hybrid else None,
    )


def _bar(result: SearchResult, row: ModelRow, colour: str, scale: float) -> Html:
    """The value as a bar with its 95% interval; a dashed mark where the best heuristic is."""
    end, heuristic = row.score.value / scale * BAR_W, result.best("heuristic")
    opacity = {"heuristic": 0.3, "component": 0.8}.get(row.group, 0.95 if row == result.hybrid else 0.5)
    parts = [el("rect", x=0, y=3, width=end, height=10, rx=1.5, fill=colour, opacity=opacity)]
    if row.score.margin:
        reach = row.score.margin / scale * BAR_W
        low, high = max(0.0, end - reach), min(BAR_W - 0.5, end + reach)
        # A halo of paper under the whisker keeps it readable on the bar.
        d = f"M{low:.1f} 8H{high:.1f}M{low:.1f} 5v6M{high:.1f} 5v6"
        parts.append(el("path", d=d, class_="whisker", style="stroke:var(--paper);stroke-width:3"))
        parts.append(el("path", d=d, class_="whisker"))
    if heuristic is not None:
        x, score = heuristic.score.value / scale * BAR_W, score_cell(heuristic, result.metric)
        parts.append(el("path", el("title", f"best heuristic: {score}"), d=f"M{x:.1f} 0V{BAR_H}", class_="mark"))
    label = f"{row.name}: {score_cell(row, result.metric)}"
    return picture(BAR_W, BAR_H, label, el("title", label), *parts)


def time_table(run: Run, palette: Palette) -> Html | None:
    """How long each phase took, longest bar for the longest phase."""
    seconds = run.result.seconds
    if not seconds:
        return None
    longest = max(seconds.values()) or 1.0
    rows = [
        el(
            "tr",
            el("td", name),
            el("td", duration(value), class_="number"),
            el("td", _time_bar(name, value, longest, palette.of_phase(name)), class_="time"),
        )
        for name, value in seconds.items()
    ]
    total = el("tr", el("td", "together"), el("td", duration(sum(seconds.values())), class_="number"), el("td"))
    return el("div", el("table", el("tbody", *rows), el("tbody", total, class_="total")), class_="scroll")


def _time_bar(name: str, value: float, longest: float, colour: str) -> Html:
    label = f"{name}: {duration(value)}"
    width = max(1.0, value / longest * 224)
    return picture(
        224,
        12,
        label,
        el("title", label),
        el("rect", x=0, y=2, width=width, height=8, rx=1.5, fill=colour, opacity=0.6),
    )


def components_table(run: Run, palette: Palette) -> Html:
    """Source, size and layer boundaries of each component."""
    names = ("component", "source", "revision", "parameters", "layers", "width", "stages end after layer")
    head = el("tr", *(el("th", name, scope="col", class_=_side(name)) for name in names))
    rows = (
        el(
            "tr",
            el("td", el("i", style=f"background:{palette[name]}"), name),
            el("td", component.source, class_="long"),
            el("td", (component.revision or DASH)[:12], title=component.revision),
            el("td", count(component.parameters), class_="number"),
            el("td", component.layers, class_="number"),
            el("td", component.width, class_="number"),
            el("td", " · ".join(map(str, component.layer_boundaries[1:-1])) or DASH, class_="number"),
        )
        for name, component in run.result.components.items()
    )
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="scroll")


def _side(name: str) -> str | None:
    return None if name in ("component", "source", "revision") else "number"


def machine_facts(run: Run) -> Html:
    """The machine, the versions and the preset."""
    result = run.result
    return definitions({**machine_words(result.machine), "preset": f"{result.preset} ({result.preset_reason})"})


def machine_words(machine: Mapping[str, object]) -> dict[str, object]:
    """Facts of a machine under the names that a reader knows them by."""
    return {MACHINE.get(name, name): "none" if value is None else value for name, value in machine.items()}


def run_facts(run: Run) -> Html:
    """Base and topology, under the path."""
    architecture = run.architecture
    residual = architecture.topology == "residual"
    projector = f", {architecture.projector} projectors at donor stages" if residual else ""
    base = f"{architecture.base} ({run.result.base_reason})"
    return definitions({"base": base, "topology": f"{architecture.topology}{projector}"})


def heuristic_note(result: SearchResult) -> str:
    """What the dashed mark in the bars is; empty if there is none."""
    best = result.best("heuristic")
    if best is None:
        return ""
    score = result.metric.format(best.score.value)
    return f" The dashed mark is the best heuristic, which needs no model: {best.name} ({score})."
