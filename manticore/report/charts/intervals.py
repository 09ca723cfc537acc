"""Means with their confidence intervals, one row per model, in panels side by side on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from markupsafe import Markup

from manticore.report.charts.curves import axis_ticks
from manticore.report.charts.svg import drawing, el, joined
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval

WIDTH, ROW, GROUP_GAP = 920, 22, 9
TITLE, AXIS, PANEL_GAP = 24, 34, 26
MAX_PANELS = 4
MAX_NAME = 32


@dataclass(frozen=True)
class Mark:
    """One mean in a chart.

    Attributes:
        interval: the mean and its confidence interval.
        color: a CSS color.
        tooltip: text shown for it.
        values: single values, one per seed, drawn as ticks.
    """

    interval: Interval
    color: str
    tooltip: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One panel of an interval chart.

    Attributes:
        title: its heading.
        marks: one for each row; None leaves the row empty.
        lines: vertical lines as (value, tooltip).
    """

    title: str
    marks: Sequence[Mark | None]
    lines: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class IntervalRow:
    """One row of all panels: its name, the group it belongs to, and whether the name is bold."""

    name: str
    group: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to coordinates from 0 to `length`."""

    low: float
    high: float
    length: float

    def position(self, value: float) -> float:
        """Coordinate of a value; values outside the scale are drawn at its end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low))) * self.length

    def contains(self, value: float) -> bool:
        """Whether a value is inside the scale."""
        return self.low <= value <= self.high


def axis_limits(
    marks: Sequence[Mark | None], lines: Sequence[float] = (), bounds: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Ends of the scale that shows all marks, with a small padding.

    An interval extends the scale by no more than the distance between the least and the greatest value, so that one
    very wide interval does not squeeze all others.

    Args:
        marks: what is shown.
        lines: values that extend the scale only if they are within this distance.
        bounds: limits that the scale never exceeds.
    """
    shown = [mark for mark in marks if mark is not None]
    values = [value for mark in shown for value in (mark.interval.mean, *mark.values)]
    reach = max(max(values) - min(values), 0.01)
    ends = [end for mark in shown for end in (mark.interval.low, mark.interval.high) if end is not None]
    low = max(min([*values, *ends]), min(values) - reach)
    high = min(max([*values, *ends]), max(values) + reach)
    near = [value for value in lines if low - reach <= value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    padding = max(0.05 * (high - low), 0.005)
    low, high = low - padding, high + padding
    return (max(low, bounds[0]), min(high, bounds[1])) if bounds else (low, high)


def interval_chart(
    label: str,
    rows: Sequence[IntervalRow],
    panels: Sequence[Panel],
    limits: tuple[float, float],
    metric: Metric,
    signed: bool = False,
) -> Markup:
    """Row names on the left, at most `MAX_PANELS` panels beside each other on the right.

    Args:
        label: text for a screen reader.
        rows: from top to bottom.
        panels: each with one mark per row.
        limits: ends of the scale, see `axis_limits`.
        metric: decides how the values of the axis are written.
        signed: whether the values are differences and are written with their signs.
    """
    columns = ceil(len(panels) / ceil(len(panels) / MAX_PANELS))
    left = 7.9 * min(MAX_NAME, max(len(row.name) for row in rows)) + 14
    scale = Scale(*limits, (WIDTH - left - PANEL_GAP * (columns - 1) - 12) / columns)
    tops = _row_tops(rows)
    height = tops[-1] + ROW + AXIS
    bands = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    names = _row_names(rows, tops, left)
    drawn = (
        el("g", names, *_band(band, tops, scale, left, metric, signed), transform=f"translate(0 {height * index})")
        for index, band in enumerate(bands)
    )
    style = f"min-width:{0.75 * WIDTH:.0f}px"
    return drawing(WIDTH, height * len(bands), label, *drawn, class_="chart", style=style)


def draw_mark(mark: Mark, y: float, scale: Scale) -> Markup:
    """A bar over the interval, a tick for each single value, and a dot at the mean."""
    low, high = mark.interval.low, mark.interval.high
    parts = []
    if low is not None and high is not None:
        start, width = scale.position(low), max(1.0, scale.position(high) - scale.position(low))
        parts.append(el("rect", x=start, y=y - 3.5, width=width, height=7, rx=2, fill=mark.color, opacity=0.3))
    if mark.values:
        strokes = "".join(f"M{scale.position(value):.1f} {y - 6:.1f}v12" for value in mark.values)
        parts.append(el("path", d=strokes, stroke=mark.color, class_="seeds"))
    parts.append(el("circle", cx=scale.position(mark.interval.mean), cy=y, r=4.2, fill=mark.color, class_="dot"))
    return el("g", el("title", mark.tooltip), *parts)


def tick_labels(scale: Scale, metric: Metric, signed: bool = False) -> list[tuple[float, str]]:
    """Round values with their labels, all with the same number of digits: `75 %`, or `+10` for differences."""
    values = axis_ticks(metric.scale * scale.low, metric.scale * scale.high)
    digits = next((count for count in range(4) if all(abs(value - round(value, count)) < 1e-6 for value in values)), 4)
    labels = [f"{value:.{digits}f}{metric.suffix}" for value in values]
    if signed:
        labels = ["0" if abs(value) < 1e-6 else f"{value:+.{digits}f}".replace("-", "−") for value in values]
    return list(zip((value / metric.scale for value in values), labels, strict=True))


def shortened(name: str, length: int = MAX_NAME) -> str:
    """The name, cut to `length` characters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _row_tops(rows: Sequence[IntervalRow]) -> list[float]:
    """Top of each row, with a gap between groups."""
    tops, top = list[float](), float(TITLE)
    for _, group in groupby(rows, key=lambda row: row.group):
        for _ in group:
            tops.append(top)
            top += ROW
        top += GROUP_GAP
    return tops


def _row_names(rows: Sequence[IntervalRow], tops: Sequence[float], left: float) -> Markup:
    return joined(
        *(
            el(
                "text",
                shortened(row.name),
                el("title", row.name) if len(row.name) > MAX_NAME else None,
                x=left - 14,
                y=top + ROW / 2 + 4,
                text_anchor="end",
                class_="name bold" if row.bold else "name",
            )
            for row, top in zip(rows, tops, strict=True)
        )
    )


def _band(
    panels: Sequence[Panel], tops: Sequence[float], scale: Scale, left: float, metric: Metric, signed: bool
) -> list[Markup]:
    """Panels beside each other."""
    bottom, title_length = tops[-1] + ROW + 4, int(scale.length / 6.5)
    return [
        el(
            "g",
            _axis(scale, bottom, metric, signed),
            el("text", shortened(panel.title, title_length), el("title", panel.title), x=0, y=13, class_="heading"),
            *(_vertical_line(value, text, scale, bottom) for value, text in panel.lines if scale.contains(value)),
            *(draw_mark(mark, top + ROW / 2, scale) for mark, top in zip(panel.marks, tops, strict=True) if mark),
            transform=f"translate({left + (scale.length + PANEL_GAP) * index:.1f} 0)",
        )
        for index, panel in enumerate(panels)
    ]


def _axis(scale: Scale, bottom: float, metric: Metric, signed: bool) -> Markup:
    """Vertical grid lines with their values; a narrow panel shows every second one."""
    labels = tick_labels(scale, metric, signed)
    return joined(
        *(
            joined(
                el("path", d=f"M{scale.position(value):.1f} {TITLE - 4}V{bottom:.1f}", class_="grid"),
                el("text", text, x=scale.position(value), y=bottom + 13, class_="tick middle"),
            )
            for value, text in labels[:: 2 if len(labels) > 3 and scale.length < 200 else 1]
        )
    )


def _vertical_line(value: float, tooltip: str, scale: Scale, bottom: float) -> Markup:
    position = scale.position(value)
    return el("path", el("title", tooltip), d=f"M{position:.1f} {TITLE - 4}V{bottom:.1f}", class_="reference")
