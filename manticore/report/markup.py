"""Elements of HTML and SVG, escaped by construction. Knows nothing of what they show."""

from __future__ import annotations

from html import escape

VOID = {"meta", "br", "hr"}


class Html(str):
    """Text that is markup already. Any other text is escaped when it becomes part of an element."""


def joined(*parts: object) -> Html:
    """The parts one after another; what is not markup is escaped, None is left out."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts if part is not None))


def el(tag: str, *children: object, **attributes: object) -> Html:
    """One element. `class_` becomes `class`, `stroke_width` becomes `stroke-width`; None leaves an attribute out."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{named}>" if tag in VOID else f"<{tag}{named}>{joined(*children)}</{tag}>")


def picture(width: float, height: float, label: str, *children: object, class_: str | None = None) -> Html:
    """An SVG that tells a screen reader what it shows."""
    box = f"0 0 {_number(width)} {_number(height)}"
    return el("svg", *children, viewBox=box, width=width, height=height, role="img", aria_label=label, class_=class_)


def _number(value: object) -> str:
    """Coordinates need no more than two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
