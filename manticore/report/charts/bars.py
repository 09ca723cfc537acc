"""Horizontal bars in the cells of a table: a score with its interval, and a duration."""

from __future__ import annotations

from markupsafe import Markup

from manticore.report.charts.palette import PAPER
from manticore.report.charts.svg import drawing, el

WIDTH, HEIGHT = 144, 16
TIME_WIDTH, TIME_HEIGHT = 224, 12


def score_bar(
    share: float,
    margin: float | None,
    label: str,
    color: str,
    opacity: float,
    reference: tuple[float, str] | None = None,
) -> Markup:
    """A bar with a whisker over the interval and a dashed line at a reference.

    Args:
        share: length of the bar, as a share of the width.
        margin: half the interval, as a share of the width; None draws no whisker.
        label: text for a screen reader, and the tooltip.
        color, opacity: of the bar.
        reference: where the dashed line is, as a share of the width, and its tooltip.
    """
    end = share * WIDTH
    parts = [el("rect", x=0, y=3, width=end, height=10, rx=1.5, fill=color, opacity=opacity)]
    if margin:
        low, high = max(0.0, end - margin * WIDTH), min(WIDTH - 0.5, end + margin * WIDTH)
        d = f"M{low:.1f} 8H{high:.1f}M{low:.1f} 5v6M{high:.1f} 5v6"
        # An outline in the color of the page keeps the whisker readable on the bar.
        parts.append(el("path", d=d, class_="whisker", style=f"stroke:{PAPER};stroke-width:3"))
        parts.append(el("path", d=d, class_="whisker"))
    if reference is not None:
        position, tooltip = reference
        d = f"M{position * WIDTH:.1f} 0V{HEIGHT}"
        parts.append(el("path", el("title", tooltip), d=d, class_="reference"))
    return drawing(WIDTH, HEIGHT, label, el("title", label), *parts)


def time_bar(share: float, label: str, color: str) -> Markup:
    """A bar whose length is a share of the longest duration."""
    bar = el("rect", x=0, y=2, width=max(1.0, share * TIME_WIDTH), height=8, rx=1.5, fill=color, opacity=0.6)
    return drawing(TIME_WIDTH, TIME_HEIGHT, label, el("title", label), bar)
