"""Parts of charts with two axes of numbers: the grid with its values, and names of dots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from manticore.report.charts.palette import PAPER
from manticore.report.charts.svg import el, joined


class Area(NamedTuple):
    """The edges of the area between the axes, in units of the drawing."""

    left: float
    top: float
    right: float
    bottom: float


def grid(area: Area, columns: Iterable[tuple[float, str]], rows: Iterable[tuple[float, str]]) -> Markup:
    """Vertical lines at `columns` and horizontal ones at `rows`, each a position and the text of its value."""
    return joined(
        *(
            joined(
                el("path", d=f"M{x:.1f} {area.top}V{area.bottom}", class_="grid"),
                el("text", text, x=x, y=area.bottom + 14, class_="tick middle"),
            )
            for x, text in columns
        ),
        *(
            joined(
                el("path", d=f"M{area.left} {y:.1f}H{area.right}", class_="grid"),
                el("text", text, x=area.left - 7, y=y + 3.5, text_anchor="end", class_="tick"),
            )
            for y, text in rows
        ),
    )


def dot_name(name: str, color: str, x: float, y: float, width: float) -> Markup:
    """The name of a dot, on the side with more room in a drawing of `width`, outlined in the color of the page."""
    offset, anchor = (9, "start") if x < width / 2 else (-9, "end")
    outline = {"stroke": PAPER, "stroke_width": 3, "paint_order": "stroke"}
    return el("text", name, x=x + offset, y=y - 8, text_anchor=anchor, fill=color, class_="name bold", **outline)
