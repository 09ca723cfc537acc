"""The tables and dot charts of a study's page. Knows nothing of the page around them."""

from __future__ import annotations

from itertools import groupby

from manticore.report.charts.intervals import Mark, Panel, Row, axis_limits, interval_chart
from manticore.report.charts.palette import ACCENT, GREY, INK, MUTED, Palette
from manticore.report.markup import Html, el
from manticore.report.paper import scroll
from manticore.report.study.standings import cells, headings, scores
from manticore.results.study import StudyResult
from manticore.results.task_result import ArmResult, TaskResult
from manticore.training.metrics import ACCURACY, Metric

SAME = {"tokens": "same training tokens", "flops": "same training FLOPs"}
COLOURS = {"hybrid": ACCENT, "designed": INK}


def colour_of(one: ArmResult, palette: Palette) -> str:
    """The hybrid has the accent, a component its own colour, what was designed by hand ink, the rest is pale."""
    if one.group == "component":
        return palette.of_phase(one.name)
    return COLOURS.get(one.group, MUTED)


def task_chart(match: TaskResult, palette: Palette) -> Html | None:
    """A panel for each budget, a row for each arm, guesses as upright rows."""
    tables = {budget: {one.name: one for one in held if one.group != "guess"} for budget, held in match.tables.items()}
    everybody = {name: one for held in reversed(tables.values()) for name, one in held.items()}
    if not everybody:
        return None
    ranked = sorted(everybody.values(), key=lambda one: one.rank)
    rows = [Row(one.name, one.group, one.group == "hybrid") for one in ranked]
    guesses = [(one.reached.mean, f"{one.name}: {one.score}") for one in match.guesses]
    panels = [
        Panel(SAME[budget], [_mark(held.get(row.name), palette) for row in rows], guesses)
        for budget, held in tables.items()
    ]
    shown = axis_limits(
        [mark for panel in panels for mark in panel.marks], [value for value, _ in guesses], match.metric.range
    )
    label = f"{match.metric.label} on {match.task}: {', '.join(f'{one.name} {one.score}' for one in ranked)}"
    return scroll(interval_chart(label, rows, panels, shown, match.metric))


def _mark(one: ArmResult | None, palette: Palette) -> Mark | None:
    if one is None:
        return None
    return Mark(one.reached, colour_of(one, palette), f"{one.name}: {one.score}", tuple(one.seeds.values()))


def leads_chart(study: StudyResult, budget: str, metric: Metric) -> Html | None:
    """How far the hybrid is ahead of each opponent at each task, around a line at zero; nothing if it is not said.

    Only tasks that are measured by `metric` are in the picture, which has one scale.
    """
    matches = [match for match in study.matches if match.metric == metric]
    leads = [match.differences.get(budget, {}) for match in matches]
    opponents = [name for name in study.names(budget) if any(name in held for held in leads)]
    if not opponents:
        return None
    rows = [Row(match.task) for match in matches]
    panels = [Panel(name, [_lead(match, budget, name) for match in matches], [(0.0, "level")]) for name in opponents]
    shown = axis_limits([mark for panel in panels for mark in panel.marks], [0.0])
    label = f"The hybrid's lead in {metric.unit}, {SAME[budget]}: "
    label += "; ".join(mark.tooltip for panel in panels for mark in panel.marks if mark)
    return scroll(interval_chart(label, rows, panels, shown, metric, signed=True))


def _lead(match: TaskResult, budget: str, opponent: str) -> Mark | None:
    """Grey unless the interval excludes zero."""
    held = match.differences.get(budget, {}).get(opponent)
    if held is None:
        return None
    told = f"{match.task}, against {opponent}: {match.metric.format_change(held.mean, held.margin)}"
    sure = ACCENT if held.mean > 0 else INK
    return Mark(held, sure if held.excludes_zero else GREY, told)


def overview_table(study: StudyResult, budget: str) -> Html:
    """All tasks, a column for each arm, the best of each task set strong; signs only where units are mixed."""
    sign = ACCURACY.suffix if len(study.metrics) == 1 else ""
    names = study.names(budget)
    head = el("tr", el("th", "task", scope="col"), *(el("th", name, scope="col", class_="number") for name in names))
    rows = (
        el(
            "tr",
            el("td", match.task, class_="long"),
            *(
                el("td", score.removesuffix(sign), class_="number best" if best else "number")
                for score, best in scores(match, names, budget)
            ),
        )
        for match in study.matches
        if budget in match.tables
    )
    return el("div", el("table", el("thead", head), el("tbody", *rows), class_="overview"), class_="scroll")


def task_table(match: TaskResult, budget: str, palette: Palette) -> Html:
    """Who stands where and what it cost; groups are set apart, guesses are last and pale."""
    columns = list(headings(match, budget))
    columns.insert(1, "hybrid's lead")
    head = el("tr", el("th", "model", scope="col"), *(el("th", text, scope="col", class_="number") for text in columns))
    bodies = (
        el("tbody", *(_row(match, one, budget, palette) for one in held), class_=group)
        for group, held in groupby(match.table(budget), key=lambda one: one.group)
    )
    return el("div", el("table", el("thead", head), *bodies), class_="scroll")


def _row(match: TaskResult, one: ArmResult, budget: str, palette: Palette) -> Html:
    lead = match.differences.get(budget, {}).get(one.name)
    score, *costs = cells(one, budget)
    best = one.group != "guess" and one.reached.mean == match.best(budget)
    swatch = None if one.group == "guess" else el("i", style=f"background:{colour_of(one, palette)}")
    return el(
        "tr",
        el("td", swatch, one.name, el("span", "best", class_="tag") if best else None),
        el("td", score, class_="number best" if best else "number"),
        el("td", match.metric.format_change(lead.mean, lead.margin, unit=False) if lead else "", class_="number"),
        *(el("td", text, class_="number") for text in costs),
    )
