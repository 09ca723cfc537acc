"""Means with their intervals as dots on bars, in panels side by side on one scale. Knows nothing of who takes part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from manticore.report.charts.curves import ticks
from manticore.report.markup import Html, el, joined, picture
from manticore.training.metrics import ACCURACY, Metric
from manticore.utils.statistics import Interval

Span = tuple[float, float]

WIDTH, ROW, GAP = 920, 22, 9
TITLE, AXIS, BETWEEN = 24, 34, 26
ACROSS = 4
LONGEST = 32


@dataclass(frozen=True)
class Mark:
    """What one row shows in one panel: the mean, its interval, single values as ticks, and what it says."""

    interval: Interval
    colour: str
    told: str
    singles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One panel: a title, a mark or nothing for each row, and upright lines, each a value and what it is."""

    title: str
    marks: Sequence[Mark | None]
    lines: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Line:
    """A row's name, the group it stands with, and whether it is set strong."""

    name: str
    group: str = ""
    strong: bool = False


@dataclass(frozen=True)
class LinearScale:
    """Values from `low` to `high`, drawn from 0 to `width`."""

    low: float
    high: float
    width: float

    def x(self, value: float) -> float:
        """Where a value is; what lies outside is drawn at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low))) * self.width

    def holds(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low <= value <= self.high


def span(marks: Sequence[Mark | None], also: Sequence[float] = (), within: Span | None = None) -> Span:
    """From the least to the greatest value to be shown, with some air.

    Intervals count as far as they reach no further out than all means lie apart, so that a very wide one does not
    squeeze the others.

    Args:
        marks: what is shown.
        also: lines that are wanted if they are that near, too.
        within: ends that are never passed.
    """
    held = [mark for mark in marks if mark is not None]
    middle = [value for mark in held for value in (mark.interval.mean, *mark.singles)]
    reach = max(max(middle) - min(middle), 0.01)
    ends = [end for mark in held for end in (mark.interval.low, mark.interval.high) if end is not None]
    low = max(min([*middle, *ends]), min(middle) - reach)
    high = min(max([*middle, *ends]), max(middle) + reach)
    near = [value for value in also if low - reach <= value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    air = max(0.05 * (high - low), 0.005)
    low, high = low - air, high + air
    return (max(low, within[0]), min(high, within[1])) if within else (low, high)


def interval_chart(
    label: str, lines: Sequence[Line], panels: Sequence[Panel], span: Span, metric: Metric, signed: bool = False
) -> Html:
    """The picture: names on the left, panels on the right, `ACROSS` of them beside each other.

    Args:
        label: what it shows, for a screen reader.
        lines: the rows.
        panels: each with a mark for each row.
        span: ends of the scale.
        metric: what the values are measured by, which says how the axis is written.
        signed: whether the axis shows signs: the values are differences.
    """
    across = ceil(len(panels) / ceil(len(panels) / ACROSS))
    left = 7.9 * min(LONGEST, max(len(line.name) for line in lines)) + 14
    scale = LinearScale(*span, (WIDTH - left - BETWEEN * (across - 1) - 12) / across)
    tops = _tops(lines)
    tall = tops[-1] + ROW + AXIS
    bands = [panels[first : first + across] for first in range(0, len(panels), across)]
    names = _names(lines, tops, left)
    drawn = (
        el("g", names, *_band(band, tops, scale, left, metric, signed), transform=f"translate(0 {tall * place})")
        for place, band in enumerate(bands)
    )
    held = picture(WIDTH, tall * len(bands), label, *drawn, class_="dots")
    return el("div", el("div", held, style=f"min-width:{0.75 * WIDTH:.0f}px"), class_="scroll")


def glyph(mark: Mark, y: float, scale: LinearScale) -> Html:
    """A bar for the interval, a tick for each single value, and the dot on top with a halo of paper."""
    low, high = mark.interval.low, mark.interval.high
    parts = []
    if low is not None and high is not None:
        start, width = scale.x(low), max(1.0, scale.x(high) - scale.x(low))
        parts.append(el("rect", x=start, y=y - 3.5, width=width, height=7, rx=2, fill=mark.colour, opacity=0.3))
    if mark.singles:
        strokes = "".join(f"M{scale.x(value):.1f} {y - 6:.1f}v12" for value in mark.singles)
        parts.append(el("path", d=strokes, stroke=mark.colour, class_="single"))
    parts.append(el("circle", cx=scale.x(mark.interval.mean), cy=y, r=4.2, fill=mark.colour, class_="dot"))
    return el("g", el("title", mark.told), *parts)


def hairlines(scale: LinearScale, metric: Metric = ACCURACY, signed: bool = False) -> list[tuple[float, str]]:
    """Round values, and what stands at them, all with as many digits: `75 %`, or `+10` for differences."""
    values = ticks(metric.scale * scale.low, metric.scale * scale.high)
    digits = next((held for held in range(4) if all(abs(value - round(value, held)) < 1e-6 for value in values)), 4)
    told = [f"{value:.{digits}f}{metric.suffix}" for value in values]
    if signed:
        told = ["0" if abs(value) < 1e-6 else f"{value:+.{digits}f}".replace("-", "−") for value in values]
    return list(zip((value / metric.scale for value in values), told, strict=True))


def short(name: str, longest: int = LONGEST) -> str:
    """A name that fits."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _tops(lines: Sequence[Line]) -> list[float]:
    """Where each row begins, with a gap between groups."""
    tops, top = list[float](), float(TITLE)
    for _, group in groupby(lines, key=lambda line: line.group):
        for _ in group:
            tops.append(top)
            top += ROW
        top += GAP
    return tops


def _names(lines: Sequence[Line], tops: Sequence[float], left: float) -> Html:
    return joined(
        *(
            el(
                "text",
                short(line.name),
                el("title", line.name) if len(line.name) > LONGEST else None,
                x=left - 14,
                y=top + ROW / 2 + 4,
                text_anchor="end",
                class_="name strong" if line.strong else "name",
            )
            for line, top in zip(lines, tops, strict=True)
        )
    )


def _band(
    panels: Sequence[Panel], tops: Sequence[float], scale: LinearScale, left: float, metric: Metric, signed: bool
) -> list[Html]:
    """Panels beside each other."""
    bottom, longest = tops[-1] + ROW + 4, int(scale.width / 6.5)
    return [
        el(
            "g",
            _axis(scale, bottom, metric, signed),
            el("text", short(panel.title, longest), el("title", panel.title), x=0, y=13, class_="heading"),
            *(_upright(value, told, scale, bottom) for value, told in panel.lines if scale.holds(value)),
            *(glyph(mark, top + ROW / 2, scale) for mark, top in zip(panel.marks, tops, strict=True) if mark),
            transform=f"translate({left + (scale.width + BETWEEN) * place:.1f} 0)",
        )
        for place, panel in enumerate(panels)
    ]


def _axis(scale: LinearScale, bottom: float, metric: Metric, signed: bool) -> Html:
    """Hairlines with their values."""
    held = hairlines(scale, metric, signed)
    return joined(
        *(
            joined(
                el("path", d=f"M{scale.x(value):.1f} {TITLE - 4}V{bottom:.1f}", class_="hair"),
                el("text", text, x=scale.x(value), y=bottom + 13, class_="tick middle"),
            )
            for value, text in held[:: 2 if len(held) > 3 and scale.width < 200 else 1]
        )
    )


def _upright(value: float, told: str, scale: LinearScale, bottom: float) -> Html:
    return el("path", el("title", told), d=f"M{scale.x(value):.1f} {TITLE - 4}V{bottom:.1f}", class_="mark")
