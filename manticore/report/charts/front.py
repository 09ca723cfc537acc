"""A Pareto front: quality against one cost, with a line through the paths that no other dominates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from manticore.report.charts.curves import axis_ticks
from manticore.report.charts.intervals import Scale
from manticore.report.charts.palette import ACCENT, PAPER
from manticore.report.charts.plane import Area, dot_name, grid
from manticore.report.charts.svg import drawing, el, joined

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 26, 46


@dataclass(frozen=True)
class FrontDot:
    """One path of the chart.

    Attributes:
        cost: horizontal.
        quality: vertical.
        color: a CSS color.
        tooltip: text shown for it.
        name: text beside it; empty for a dot without a name.
        on_front: whether the line runs through it.
    """

    cost: float
    quality: float
    color: str
    tooltip: str
    name: str = ""
    on_front: bool = False


def front_chart(dots: Sequence[FrontDot], quality: str, cost: str, unit: float, lower_is_better: bool) -> Markup:
    """The chart. The better quality is at the top.

    Args:
        dots: at least one.
        quality, cost: titles of the axes.
        unit: costs are shown in this unit, such as 1024 for KiB.
        lower_is_better: whether a smaller quality is better.
    """
    x_scale = _scale([dot.cost / unit for dot in dots], WIDTH - LEFT - RIGHT)
    y_scale = _scale([dot.quality for dot in dots], HEIGHT - TOP - BOTTOM)

    def center(dot: FrontDot) -> tuple[float, float]:
        y = y_scale.position(dot.quality)
        return LEFT + x_scale.position(dot.cost / unit), TOP + y if lower_is_better else HEIGHT - BOTTOM - y

    line = sorted((center(dot) for dot in dots if dot.on_front), key=lambda point: point[0])
    steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in line[1:])
    path = el("path", d=f"M{line[0][0]:.1f} {line[0][1]:.1f}{steps}", stroke=ACCENT, fill="none", stroke_width=1.5)
    ordered = sorted(dots, key=lambda dot: (dot.on_front, bool(dot.name)))
    label = f"{quality} against {cost}: {'; '.join(dot.tooltip for dot in dots if dot.on_front or dot.name)}"
    axes = _axes(x_scale, y_scale, quality, cost, lower_is_better)
    names = (dot_name(dot.name, dot.color, *center(dot), WIDTH) for dot in ordered if dot.name)
    circles = (_dot(dot, *center(dot)) for dot in ordered)
    style = f"max-width:{WIDTH}px;min-width:{0.7 * WIDTH:.0f}px"
    return drawing(WIDTH, HEIGHT, label, axes, path, *names, *circles, class_="chart", style=style)


def _scale(values: Sequence[float], length: float) -> Scale:
    padding = 0.06 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    return Scale(min(values) - padding, max(values) + padding, length)


def _dot(dot: FrontDot, x: float, y: float) -> Markup:
    look = {"fill": dot.color} if dot.on_front else {"fill": PAPER, "stroke": dot.color, "stroke_width": 1.5}
    return el("g", el("title", dot.tooltip), el("circle", cx=x, cy=y, r=5 if dot.on_front else 3.5, **look))


def _axes(x_scale: Scale, y_scale: Scale, quality: str, cost: str, lower_is_better: bool) -> Markup:
    area = Area(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)

    def height(value: float) -> float:
        return TOP + y_scale.position(value) if lower_is_better else area.bottom - y_scale.position(value)

    columns = ((LEFT + x_scale.position(value), f"{value:g}") for value in axis_ticks(x_scale.low, x_scale.high))
    rows = ((height(value), f"{value:.4g}") for value in axis_ticks(y_scale.low, y_scale.high))
    return joined(
        grid(area, columns, rows),
        el("text", quality, x=0, y=13, class_="heading"),
        el("text", cost, x=area.right, y=HEIGHT - 8, text_anchor="end", class_="heading"),
    )
