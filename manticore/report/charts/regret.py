"""Regret of search methods against the share of tokens that they spend on searching, one panel per table.

The vertical axis has a square-root scale, so that differences near the best path are visible next to large regrets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from manticore.report.charts.intervals import shortened
from manticore.report.charts.palette import MUTED, PAPER
from manticore.report.charts.svg import drawing, el, joined

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 38, 40
MAX_NAME, LETTER, LINE = 26, 7.0, 12.5
"""Largest number of letters of a method's name, width of a letter and distance of lines."""

LEAST_RANGE = 1.0
"""Smallest range of the vertical axis, in units of the last written digit."""

MIN_TICK_DISTANCE = 17.0


@dataclass(frozen=True)
class RegretDot:
    """One method on one table.

    Attributes:
        name: of the method.
        share: tokens that the search spends, as a share of the whole budget; 0 for a choice without a search.
        regret: mean over seeds, in the unit of the panel, at least 0.
        low, high: least and largest regret of a seed.
        color: a CSS color.
        tooltip: text shown for it.
        hollow: whether the dot is a ring, as for a choice without a search.
    """

    name: str
    share: float
    regret: float
    low: float
    high: float
    color: str
    tooltip: str
    hollow: bool = False


@dataclass(frozen=True)
class RegretPanel:
    """All methods on one table: title, unit and decimals of a regret, and at least one dot."""

    title: str
    unit: str
    digits: int
    dots: tuple[RegretDot, ...]


@dataclass(frozen=True)
class _Box:
    """A rectangle that labels must not overlap."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, box: _Box) -> float:
        width = min(self.right, box.right) - max(self.left, box.left)
        height = min(self.bottom, box.bottom) - max(self.top, box.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True)
class _Axes:
    """Maps shares and regrets to coordinates of a panel; its ends are the largest share and the largest regret."""

    share: float
    regret: float

    @classmethod
    def of(cls, panel: RegretPanel) -> _Axes:
        least = LEAST_RANGE / 10**panel.digits
        highest = max(least, *(value for dot in panel.dots for value in (dot.regret, dot.high)))
        return cls(max(0.1, 1.04 * max(dot.share for dot in panel.dots)), 1.06 * highest)

    def x(self, share: float) -> float:
        return LEFT + share / self.share * (WIDTH - LEFT - RIGHT)

    def y(self, regret: float) -> float:
        return HEIGHT - BOTTOM - math.sqrt(max(0.0, regret) / self.regret) * (HEIGHT - BOTTOM - TOP)


def regret_chart(panel: RegretPanel) -> Markup:
    """The chart of one panel. Names of dots that lie close together are moved apart, with lines to their dots."""
    label = f"{panel.title}, regret against tokens spent: {'; '.join(dot.tooltip for dot in panel.dots)}."
    axes = _Axes.of(panel)
    ordered = sorted(panel.dots, key=lambda dot: (dot.regret, dot.share))
    ranges = (_range(dot, axes) for dot in ordered if dot.high > dot.low)
    dots = (_dot(dot, axes) for dot in ordered)
    parts = (_frame(panel, axes), *ranges, *_names(ordered, axes), *dots)
    return drawing(WIDTH, HEIGHT, label, *parts, class_="chart", style=f"max-width:{WIDTH}px")


def _frame(panel: RegretPanel, axes: _Axes) -> Markup:
    """The title, and grid lines with their values."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    step = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0, math.inf) if axes.share / step <= 6)
    shares = [step * index for index in range(int(axes.share / step) + 1)]
    return joined(
        el("text", panel.title, x=4, y=13, class_="heading"),
        el("text", f"regret in {panel.unit}", x=4, y=27, class_="tick"),
        el("text", "share of all tokens spent on searching", x=right, y=HEIGHT - 8, text_anchor="end", class_="tick"),
        *(
            joined(
                el("path", d=f"M{LEFT} {axes.y(value):.1f}H{right}", class_="grid"),
                el("text", text, x=LEFT - 8, y=axes.y(value) + 3.5, text_anchor="end", class_="tick"),
            )
            for value, text in _regret_ticks(axes, panel.digits)
        ),
        *(el("text", f"{100 * share:.0f} %", x=axes.x(share), y=bottom + 15, class_="tick middle") for share in shares),
    )


def _regret_ticks(axes: _Axes, digits: int) -> Iterator[tuple[float, str]]:
    """0, and numbers of the series 1, 2, 5 that are far enough from each other, from the largest down."""
    bottom = axes.y(0)
    yield 0.0, "0"
    exponent, last = math.ceil(math.log10(axes.regret)), 0.0
    for power in range(exponent, -digits - 1, -1):
        for factor in (5, 2, 1):
            value = factor * 10.0**power
            y = axes.y(value)
            if value <= axes.regret and y - last >= MIN_TICK_DISTANCE and bottom - y >= MIN_TICK_DISTANCE:
                last = y
                yield value, f"{value:.{max(0, -power)}f}"


def _range(dot: RegretDot, axes: _Axes) -> Markup:
    line = f"M{axes.x(dot.share):.1f} {axes.y(dot.low):.1f}V{axes.y(dot.high):.1f}"
    return el("path", d=line, stroke=dot.color, stroke_width=2, opacity=0.3)


def _dot(dot: RegretDot, axes: _Axes) -> Markup:
    look: dict[str, object] = {"fill": dot.color, "class_": "dot"}
    if dot.hollow:
        look = {"fill": PAPER, "stroke": dot.color, "stroke_width": 1.5}
    return el("g", el("title", dot.tooltip), el("circle", cx=axes.x(dot.share), cy=axes.y(dot.regret), r=4, **look))


def _names(dots: Sequence[RegretDot], axes: _Axes) -> Iterator[Markup]:
    """A name for each dot: beside it where there is room, else above or below with a line to it."""
    taken = [_Box(x - 5, y - 5, x + 5, y + 5) for x, y in ((axes.x(dot.share), axes.y(dot.regret)) for dot in dots)]
    for dot in dots:
        x, y = axes.x(dot.share), axes.y(dot.regret)
        text = shortened(dot.name, MAX_NAME)
        options = list(_positions(x, y, LETTER * len(text)))
        box = min(options, key=lambda option: sum(map(option.overlap, taken)))  # the first of the best
        taken.append(box)
        to_the_right = box.left > x
        near = box.left - 2 if to_the_right else box.right + 2
        middle = (box.top + box.bottom) / 2
        if abs(middle - y) > LINE / 2:
            line = f"M{x:.1f} {y:.1f}L{near:.1f} {middle:.1f}"
            yield el("path", d=line, stroke=MUTED, stroke_width=0.7, fill="none")
        position = {"x": box.left if to_the_right else box.right, "y": middle + 3.5}
        anchor = "start" if to_the_right else "end"
        outline = {"stroke": PAPER, "stroke_width": 3, "paint_order": "stroke"}
        yield el("text", text, text_anchor=anchor, fill=dot.color, class_="point", **position, **outline)


def _positions(x: float, y: float, width: float) -> Iterator[_Box]:
    """Places for a name of a dot at (x, y), the best first, all within the panel."""
    for step in range(12):
        for shift in (step * LINE, -step * LINE):
            for left in (x + 9 + 2 * step, x - 9 - 2 * step - width):
                box = _Box(left, y + shift - LINE / 2, left + width, y + shift + LINE / 2)
                inside = box.left >= LEFT - 2 and box.right <= WIDTH and box.top >= TOP - 8
                if inside and box.bottom <= HEIGHT - BOTTOM + 8:
                    yield box
