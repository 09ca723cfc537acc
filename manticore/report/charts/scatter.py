"""Scores on the proxy tasks against scores on the target task, one dot per path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from manticore.report.charts.intervals import Mark, Scale, axis_limits, shortened, tick_labels
from manticore.report.charts.plane import Area, dot_name, grid
from manticore.report.charts.svg import drawing, el, joined
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval

WIDTH, HEIGHT = 720, 430
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 26, 46
MAX_TITLE = 90


@dataclass(frozen=True)
class Dot:
    """One point of the chart.

    Attributes:
        x, y: means with their confidence intervals.
        color: a CSS color.
        tooltip: text shown for it.
        name: text beside it; empty for a dot without a name.
    """

    x: Interval
    y: Interval
    color: str
    tooltip: str
    name: str = ""


def scatter_chart(dots: Sequence[Dot], metric: Metric, x_title: str, y_title: str) -> Markup:
    """The chart. Intervals are drawn first, then names, then dots, so that only another dot can hide a dot.

    Args:
        dots: at least one.
        metric: the metric of both axes.
        x_title, y_title: titles of the axes.
    """
    x_scale = _scale(dots, lambda dot: dot.x, metric, WIDTH - LEFT - RIGHT)
    y_scale = _scale(dots, lambda dot: dot.y, metric, HEIGHT - TOP - BOTTOM)
    ordered = sorted(dots, key=lambda dot: bool(dot.name))
    intervals = (line for dot in ordered for line in _intervals(dot, x_scale, y_scale))
    names = (dot_name(dot.name, dot.color, *_center(dot, x_scale, y_scale), WIDTH) for dot in ordered if dot.name)
    circles = (_circle(dot, x_scale, y_scale) for dot in ordered)
    label = f"{y_title} against {x_title}: {'; '.join(dot.tooltip for dot in dots)}"
    axes = _axes(x_scale, y_scale, metric, x_title, y_title)
    style = f"max-width:{WIDTH}px;min-width:{0.7 * WIDTH:.0f}px"
    return drawing(WIDTH, HEIGHT, label, axes, *intervals, *names, *circles, class_="chart", style=style)


def _scale(dots: Sequence[Dot], read: Callable[[Dot], Interval], metric: Metric, length: float) -> Scale:
    return Scale(*axis_limits([Mark(read(dot), "", "") for dot in dots], bounds=metric.range), length)


def _intervals(dot: Dot, x_scale: Scale, y_scale: Scale) -> list[Markup]:
    """A horizontal and a vertical line over the intervals of a dot, as far as it has them."""
    x, y = _center(dot, x_scale, y_scale)
    lines = []
    if dot.x.low is not None and dot.x.high is not None:
        lines.append(f"M{LEFT + x_scale.position(dot.x.low):.1f} {y:.1f}H{LEFT + x_scale.position(dot.x.high):.1f}")
    if dot.y.low is not None and dot.y.high is not None:
        lines.append(f"M{x:.1f} {_flip(y_scale, dot.y.low):.1f}V{_flip(y_scale, dot.y.high):.1f}")
    return [el("path", d=line, stroke=dot.color, stroke_width=2, opacity=0.3) for line in lines]


def _circle(dot: Dot, x_scale: Scale, y_scale: Scale) -> Markup:
    x, y = _center(dot, x_scale, y_scale)
    radius = 5.5 if dot.name else 4.2
    return el("g", el("title", dot.tooltip), el("circle", cx=x, cy=y, r=radius, fill=dot.color, class_="dot"))


def _axes(x_scale: Scale, y_scale: Scale, metric: Metric, x_title: str, y_title: str) -> Markup:
    """Grid lines with their values, and the titles of the axes."""
    area = Area(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    columns = [(LEFT + x_scale.position(value), text) for value, text in tick_labels(x_scale, metric)]
    rows = [(_flip(y_scale, value), text) for value, text in tick_labels(y_scale, metric)]
    return joined(
        grid(area, columns, rows),
        _title(y_title, x=0, y=13),
        _title(x_title, x=area.right, y=HEIGHT - 8, text_anchor="end"),
    )


def _title(text: str, **attributes: object) -> Markup:
    """The title of an axis; a long one is cut and has the whole as its tooltip."""
    whole = el("title", text) if len(text) > MAX_TITLE else None
    return el("text", shortened(text, MAX_TITLE), whole, class_="heading", **attributes)


def _center(dot: Dot, x_scale: Scale, y_scale: Scale) -> tuple[float, float]:
    return LEFT + x_scale.position(dot.x.mean), _flip(y_scale, dot.y.mean)


def _flip(scale: Scale, value: float) -> float:
    """SVG's vertical axis points down."""
    return HEIGHT - BOTTOM - scale.position(value)
