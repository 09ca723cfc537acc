"""What every page is made of: the document, its style, sections. Knows nothing of what a page shows."""

from __future__ import annotations

import re
from pathlib import Path

from manticore.report.charts.palette import Palette
from manticore.report.markup import Html, el, joined

STYLE = Path(__file__).with_name("page.css")


def document(title: str, *body: Html | None) -> str:
    """A whole page that needs no other file."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', el('main', *body)), lang='en')}\n"


def section(title: str, told: str | None, *content: Html | None) -> Html | None:
    """A heading, a line on how to read what follows, and what follows; nothing if nothing does."""
    if all(part is None for part in content):
        return None
    return el("section", el("h2", title), el("p", told, class_="aside") if told else None, joined(*content))


def definitions(facts: dict[str, object]) -> Html:
    """Names beside values."""
    return el("dl", joined(*(joined(el("dt", name), el("dd", value)) for name, value in facts.items())), class_="facts")


def unbroken(text: str) -> str:
    """Numbers stay on one line with their margins and units."""
    return re.sub(r"(?<=\d) (?=[±%])|(?<=±) |(?<=\d) (?=points|nats|bits)|(?<=stage) (?=\d)", "\u00a0", text)


def legend(palette: Palette) -> Html:
    """Names beside their colors."""
    keys = (el("span", el("i", style=f"background:{color}"), name, class_="key") for name, color in palette.legend)
    return el("p", joined(*keys), class_="legend")


def scroll(content: Html) -> Html:
    """What scrolls by itself where the page is narrower."""
    return el("div", content, class_="scroll")
