"""Fills the jinja2 templates of the pages and the model cards."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from manticore.utils.formatting import count, counted, duration

NUMBER_WITH_UNIT = re.compile(r"(?<=\d) (?=[±%])|(?<=±) |(?<=\d) (?=points|nats|bits)|(?<=stage) (?=\d)")


MAX_NAME = 64
"""Longest name that a page shows as it is."""

BREAK_AFTER = re.compile(r"([@,+/=_\-·])(?=\w)")


def render(template: str, **values: object) -> str:
    """Fill a template of `report/templates`. In a page (`.html.j2`) every value that is not markup is escaped.

    Raises jinja2.UndefinedError if the template uses a name that is not in `values`.
    """
    return _environment().get_template(template).render(**values)


def style_sheet() -> str:
    """The style sheet of all pages."""
    return (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")


def unbroken(text: str) -> Markup:
    """Put no-break spaces between numbers and their margins and units. Markup stays markup, text is escaped."""
    return Markup(NUMBER_WITH_UNIT.sub("\u00a0", escape(text)))


def breakable(name: str, length: int = MAX_NAME) -> Markup:
    """A name that may break after its punctuation; one longer than `length` is cut and has the whole as its title."""
    shown = name if len(name) <= length else f"{name[: length - 1]}…"
    markup = Markup(BREAK_AFTER.sub(r"\1<wbr>", str(escape(shown))))
    return markup if shown == name else Markup('<span title="{}">{}</span>').format(name, markup)


def runs_of(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Consecutive items with the same attribute, as (attribute, items), in their order."""
    return [(key, list(group)) for key, group in groupby(items, key=lambda item: getattr(item, attribute))]


def fenced(code: str, language: str) -> str:
    """A Markdown code block whose fence is longer than any fence in the code."""
    longest = max((len(fence) for fence in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("manticore.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (breakable, count, counted, duration, fenced, runs_of, unbroken):
        environment.filters[function.__name__] = function
    return environment
