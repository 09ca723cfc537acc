"""SVG elements as markup, escaped by construction. The charts are built from these; the pages are jinja2 templates."""

from __future__ import annotations

import re

from markupsafe import Markup, escape


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One element with its children; text is escaped, and None is left out.

    Args:
        tag: name of the element, such as `path`.
        children: elements, or text.
        attributes: `class_` is written as `class`, `stroke_width` as `stroke-width`; None leaves the attribute out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{joined(*children)}</{tag}>")


def joined(*parts: object) -> Markup:
    """The parts one after another; text is escaped, and None is left out."""
    return Markup("").join(escape(part) for part in parts if part is not None)


def drawing(
    width: float, height: float, label: str, *children: object, class_: str | None = None, style: str | None = None
) -> Markup:
    """The `svg` element, with `label` as its text for a screen reader."""
    box = f"0 0 {_number(width)} {_number(height)}"
    size = {"viewBox": box, "width": width, "height": height}
    return el("svg", *children, **size, role="img", aria_label=label, class_=class_, style=style)


def standalone(svg: Markup, style: str) -> str:
    """A drawing as a file of its own, in the light and the dark colors of the page whose style sheet is `style`."""
    rules = re.findall(
        r"^(?:(?::root|@media \(prefers-color-scheme: dark\)) \{.*?^\}|(?:svg|\.chart \.\w+|\.dot|\.grid) \{.*?\})$",
        style,
        re.M | re.S,
    )
    own = "svg { background: var(--paper); color: var(--ink); font-family: system-ui, sans-serif; }"
    sheet = "\n".join([*rules, own])
    opening, rest = svg.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>\n{sheet}\n</style>{rest}\n'


def _number(value: object) -> str:
    """Coordinates need no more than two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
