"""Accuracy on the proxies against accuracy on the target, a dot for each path. Knows nothing of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manticore.report.charts.intervals import LinearScale, Mark, hairlines, span
from manticore.report.markup import Html, el, joined, picture
from manticore.utils.statistics import Interval

WIDTH, HEIGHT = 720, 430
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 26, 46


@dataclass(frozen=True)
class Spot:
    """A dot: where it is, its colour, what it says when pointed at, and a name beside it if it is marked."""

    x: Interval
    y: Interval
    colour: str
    told: str
    name: str = ""


def scatter_chart(spots: Sequence[Spot], across: str, upward: str) -> Html:
    """The picture: bars behind names behind dots, so that no dot is hidden but by another.

    Args:
        spots: at least one.
        across, upward: what the axes are.
    """
    wide = _scale(spots, lambda spot: spot.x, WIDTH - LEFT - RIGHT)
    tall = _scale(spots, lambda spot: spot.y, HEIGHT - TOP - BOTTOM)
    ordered = sorted(spots, key=lambda spot: bool(spot.name))
    behind = (line for spot in ordered for line in _bars(spot, wide, tall))
    names = (_name(spot, wide, tall) for spot in ordered if spot.name)
    label = f"{upward} against {across}: {'; '.join(spot.told for spot in spots)}"
    held = (_dot(spot, wide, tall) for spot in ordered)
    axes = _axes(wide, tall, across, upward)
    drawn = picture(WIDTH, HEIGHT, label, axes, *behind, *names, *held, class_="dots")
    return el("div", el("div", drawn, style=f"max-width:{WIDTH}px;min-width:{0.7 * WIDTH:.0f}px"), class_="scroll")


def _scale(spots: Sequence[Spot], read: Callable[[Spot], Interval], width: float) -> LinearScale:
    return LinearScale(*span([Mark(read(spot), "", "") for spot in spots], within=(0.0, 1.0)), width)


def _bars(spot: Spot, wide: LinearScale, tall: LinearScale) -> list[Html]:
    """Lines over the intervals; none where there is none."""
    x, y = LEFT + wide.x(spot.x.mean), _up(tall, spot.y.mean)
    ends = []
    if spot.x.low is not None and spot.x.high is not None:
        ends.append(f"M{LEFT + wide.x(spot.x.low):.1f} {y:.1f}H{LEFT + wide.x(spot.x.high):.1f}")
    if spot.y.low is not None and spot.y.high is not None:
        ends.append(f"M{x:.1f} {_up(tall, spot.y.low):.1f}V{_up(tall, spot.y.high):.1f}")
    return [el("path", d=line, stroke=spot.colour, stroke_width=2, opacity=0.3) for line in ends]


def _name(spot: Spot, wide: LinearScale, tall: LinearScale) -> Html:
    """On the side where there is room, with a halo of paper."""
    x, y = LEFT + wide.x(spot.x.mean), _up(tall, spot.y.mean)
    aside, anchor = (9, "start") if x < WIDTH / 2 else (-9, "end")
    halo = {"stroke": "var(--paper)", "stroke_width": 3, "paint_order": "stroke"}
    words = {"text_anchor": anchor, "fill": spot.colour, "class_": "name strong"}
    return el("text", spot.name, x=x + aside, y=y - 8, **halo, **words)


def _dot(spot: Spot, wide: LinearScale, tall: LinearScale) -> Html:
    x, y = LEFT + wide.x(spot.x.mean), _up(tall, spot.y.mean)
    size = 5.5 if spot.name else 4.2
    return el("g", el("title", spot.told), el("circle", cx=x, cy=y, r=size, fill=spot.colour, class_="dot"))


def _axes(wide: LinearScale, tall: LinearScale, across: str, upward: str) -> Html:
    """Hairlines with their values in percent, and what they are of."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    upright = [(LEFT + wide.x(value), text) for value, text in hairlines(wide)]
    level = [(_up(tall, value), text) for value, text in hairlines(tall)]
    return joined(
        *(
            joined(
                el("path", d=f"M{x:.1f} {TOP}V{bottom}", class_="hair"),
                el("text", text, x=x, y=bottom + 14, class_="tick middle"),
            )
            for x, text in upright
        ),
        *(
            joined(
                el("path", d=f"M{LEFT} {y:.1f}H{right}", class_="hair"),
                el("text", text, x=LEFT - 7, y=y + 3.5, text_anchor="end", class_="tick"),
            )
            for y, text in level
        ),
        el("text", upward, x=0, y=13, class_="heading"),
        el("text", across, x=right, y=HEIGHT - 8, text_anchor="end", class_="heading"),
    )


def _up(tall: LinearScale, value: float) -> float:
    return HEIGHT - BOTTOM - tall.x(value)
