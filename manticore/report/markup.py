"""Elements of HTML, escaped by construction."""

from __future__ import annotations

from markupsafe import Markup as Html

from manticore.report.charts import svg
from manticore.report.charts.svg import drawing as picture
from manticore.report.charts.svg import joined

VOID = {"meta", "br", "hr"}
__all__ = ["VOID", "Html", "el", "joined", "picture"]


def el(tag: str, *children: object, **attributes: object) -> Html:
    """One element, see `svg.el`."""
    element = svg.el(tag, *children, **attributes)
    return Html(element.removesuffix(f"</{tag}>")) if tag in VOID else element
