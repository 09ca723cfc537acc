"""The charts of a study: the scores on one task, and the lead of the hybrid over all tasks."""

from __future__ import annotations

from markupsafe import Markup

from manticore.report.charts.intervals import IntervalRow, Mark, Panel, axis_limits, interval_chart
from manticore.report.charts.palette import ACCENT, GREY, INK, MUTED, Palette
from manticore.report.study.summary import BUDGETS
from manticore.report.study.tables import score_cell
from manticore.results.study import GROUPS, ArmResult, StudyResult, TaskResult
from manticore.training.metrics import Metric

GROUP_COLORS = {"hybrid": ACCENT, "designed": INK}


def arm_color(arm: ArmResult, palette: Palette) -> str:
    """Accent for the hybrid, its own color for a component, ink for hand-designed hybrids, else a muted color."""
    return palette.of_phase(arm.name) if arm.group == "component" else GROUP_COLORS.get(arm.group, MUTED)


def task_chart(task: TaskResult, palette: Palette) -> Markup:
    """One panel per budget, one row per model, heuristics as vertical lines."""
    metric = task.metric
    tables = {budget: {arm.name: arm for arm in arms} for budget, arms in task.tables.items()}
    models = {name: arm for arms in reversed(tables.values()) for name, arm in arms.items()}
    ranked = sorted(models.values(), key=lambda arm: GROUPS.index(arm.group))
    rows = [IntervalRow(arm.name, arm.group, bold=arm.group == "hybrid") for arm in ranked]
    heuristics = [(value, f"{name}: {metric.format(value, unit=False)}") for name, value in task.heuristics.items()]
    panels = [
        Panel(BUDGETS[budget], [_score_mark(arms.get(row.name), metric, palette) for row in rows], heuristics)
        for budget, arms in tables.items()
    ]
    marks = [mark for panel in panels for mark in panel.marks]
    limits = axis_limits(marks, [value for value, _ in heuristics], metric.range)
    scores = ", ".join(f"{arm.name} {score_cell(arm, metric)}" for arm in ranked)
    return interval_chart(f"{metric.label} on {task.task}: {scores}", rows, panels, limits, metric)


def leads_chart(study: StudyResult, budget: str, metric: Metric) -> Markup | None:
    """The lead of the hybrid over each opponent on every task of one metric. None if there is no lead."""
    tasks = [task for task in study.tasks if task.metric == metric]
    leads = [task.leads.get(budget, {}) for task in tasks]
    opponents = [name for name in study.names(budget) if any(name in lead for lead in leads)]
    if not opponents:
        return None
    rows = [IntervalRow(task.task) for task in tasks]
    panels = [
        Panel(name, [_lead_mark(task, budget, name) for task in tasks], [(0.0, "no difference")]) for name in opponents
    ]
    marks = [mark for panel in panels for mark in panel.marks]
    label = f"Lead of the hybrid in {metric.unit}, {BUDGETS[budget]}: "
    label += "; ".join(mark.tooltip for mark in marks if mark)
    return interval_chart(label, rows, panels, axis_limits(marks, [0.0]), metric, signed=True)


def _score_mark(arm: ArmResult | None, metric: Metric, palette: Palette) -> Mark | None:
    if arm is None:
        return None
    tooltip = f"{arm.name}: {score_cell(arm, metric)}"
    return Mark(arm.score, arm_color(arm, palette), tooltip, tuple(arm.seed_scores.values()))


def _lead_mark(task: TaskResult, budget: str, opponent: str) -> Mark | None:
    """Gray unless the interval excludes zero."""
    interval = task.leads.get(budget, {}).get(opponent)
    if interval is None:
        return None
    lead = task.metric.format_lead(interval.mean, interval.margin)
    tooltip = f"{task.task}: the hybrid is {lead} than {opponent}"
    color = ACCENT if interval.mean > 0 else INK
    return Mark(interval, color if interval.excludes_zero else GREY, tooltip)
