"""The tables of the page: comparison, time, components, machine. Knows nothing of the page around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from manticore.report.charts.palette import INK, Palette
from manticore.report.markup import Html, el, picture
from manticore.report.paper import definitions
from manticore.report.run.reading import Run
from manticore.report.run.table import COSTS
from manticore.results.rows import ModelRow, measure
from manticore.utils.formatting import DASH, count, duration, percent

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
    """Every row with its bar; groups are set apart and the guesses last and pale."""
    scale = bar_scale(run.rows)
    bars = [""] if scale else []
    head = el(
        "tr",
        el("th", "model", scope="col"),
        el("th", measure(run.rows), scope="col", class_="number"),
        *(el("th", text, scope="col") for text in bars),
        *(el("th", text, scope="col", class_="number") for text in COSTS),
    )
    bodies = (
        el("tbody", *(_row(run, row, palette, scale) for row in rows), class_=group)
        for group, rows in groupby(run.rows, key=lambda row: row.group)
    )
    return el("div", el("table", el("thead", head), *bodies), class_="scroll")


def bar_scale(rows: Sequence[ModelRow]) -> float:
    """The accuracy at the right end of the bars: the next tenth above all of them; 0 if there is none."""
    tops = [row.accuracy + (row.margin or 0) for row in rows if row.accuracy is not None]
    return min(1.0, math.ceil(10 * max(tops) + 0.01) / 10) if tops else 0.0


def _row(run: Run, row: ModelRow, palette: Palette, scale: float) -> Html:
    exported = row == run.exported_row
    colour = palette.of_phase(row.name)
    swatch = el("i", style=f"background:{colour}") if colour != INK else None
    exact = (row.parameters, row.flops_per_token, row.training_tokens)
    cells = (
        el("td", text, class_="number", title=None if value is None else f"{value:,.0f}")
        for text, value in zip(row.costs, exact, strict=True)
    )
    return el(
        "tr",
        el("td", swatch, row.name, el("span", "exported", class_="tag") if exported else None),
        el("td", row.score, class_="number"),
        el("td", _bar(run, row, colour, scale), class_="bar") if scale else None,
        *cells,
        class_="ours" if row == run.hybrid else None,
    )


def _bar(run: Run, row: ModelRow, colour: str, scale: float) -> Html | None:
    """Accuracy as a bar with its 95% interval; a dashed mark where the best guess is."""
    if row.accuracy is None:
        return None
    end, guess = row.accuracy / scale * BAR_W, run.best("guess")
    opacity = {"guess": 0.3, "component": 0.8}.get(row.group, 0.95 if row == run.hybrid else 0.5)
    parts = [el("rect", x=0, y=3, width=end, height=10, rx=1.5, fill=colour, opacity=opacity)]
    if row.margin:
        reach = row.margin / scale * BAR_W
        low, high = max(0.0, end - reach), min(BAR_W - 0.5, end + reach)
        # A halo of paper under the whisker keeps it readable on the bar.
        d = f"M{low:.1f} 8H{high:.1f}M{low:.1f} 5v6M{high:.1f} 5v6"
        parts.append(el("path", d=d, class_="whisker", style="stroke:var(--paper);stroke-width:3"))
        parts.append(el("path", d=d, class_="whisker"))
    if guess is not None and guess.accuracy is not None:
        at = guess.accuracy / scale * BAR_W
        parts.append(el("path", el("title", f"best guess: {guess.score}"), d=f"M{at:.1f} 0V{BAR_H}", class_="mark"))
    return picture(BAR_W, BAR_H, f"{row.name}: {row.score}", el("title", f"{row.name}: {row.score}"), *parts)


def time_table(run: Run, palette: Palette) -> Html | None:
    """How long each phase took, longest bar for the longest phase."""
    seconds = {str(name): float(value) for name, value in (run.metrics.get("seconds") or {}).items()}
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


def components_table(run: Run, palette: Palette) -> Html | None:
    """Where each component is from and how it was cut."""
    held = run.metrics.get("components") or {}
    if not held:
        return None
    names = ("component", "source", "revision", "parameters", "layers", "width", "cuts after layer")
    head = el("tr", *(el("th", name, scope="col", class_=_side(name)) for name in names))
    rows = (
        el(
            "tr",
            el("td", el("i", style=f"background:{palette[name]}"), name),
            el("td", facts.get("source", DASH), class_="long"),
            el("td", (facts.get("revision") or DASH)[:12], title=facts.get("revision")),
            el("td", count(facts.get("parameters")), class_="number"),
            el("td", facts.get("layers", DASH), class_="number"),
            el("td", facts.get("width", DASH), class_="number"),
            el("td", " · ".join(map(str, (facts.get("layer_boundaries") or [])[1:-1])) or DASH, class_="number"),
        )
        for name, facts in held.items()
    )
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="scroll")


def _side(name: str) -> str | None:
    return None if name in ("component", "source", "revision") else "number"


def machine_facts(run: Run) -> Html | None:
    """The machine and the versions."""
    facts = machine_words(run.metrics.get("machine") or {})
    if run.metrics.get("preset"):
        facts["preset"] = _because(run.metrics["preset"], run.metrics.get("preset_reason"))
    return definitions(facts) if facts else None


def machine_words(held: Mapping[str, object]) -> dict[str, object]:
    """What a machine's facts are called, beside what they are."""
    return {MACHINE.get(name, name): "none" if value is None else value for name, value in held.items()}


def run_facts(run: Run) -> Html:
    """What else describes the run, under the path."""
    held = run.architecture
    base = _because(held.base, run.metrics.get("base_reason"))
    projector = f", {held.projector} projectors at donor stages" if held.topology == "residual" else ""
    return definitions({"base": base, "topology": f"{held.topology}{projector}"})


def _because(what: object, why: object) -> str:
    return f"{what} ({why})" if why else str(what)


def guess_note(run: Run) -> str:
    """What the dashed mark in the bars is."""
    guess = run.best("guess")
    if guess is None or guess.accuracy is None:
        return ""
    return f" The dashed mark is the best guess without a model, {guess.name} ({percent(guess.accuracy)})."
