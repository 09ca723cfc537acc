"""Fills the jinja2 templates of the pages and the model cards. Knows no results."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from manticore.utils.formatting import count, counted, duration, listed, percent

NUMBER_WITH_UNIT = re.compile(r"(?<=\d) (?=[±%])|(?<=±) |(?<=\d) (?=points|nats|bits)|(?<=stage) (?=\d)")


def render(template: str, **values: object) -> str:
    """Fill a template of `report/templates`; in a page (`.html.j2`) every value that is not markup is escaped.

    Raises jinja2.UndefinedError if the template uses a name that is not in `values`.
    """
    return _environment().get_template(template).render(**values)


def unbroken(text: str) -> Markup:
    """Put no-break spaces between numbers and their margins and units. Markup stays markup, text is escaped."""
    return Markup(NUMBER_WITH_UNIT.sub("\u00a0", escape(text)))


def runs_of(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Consecutive items with the same attribute, as (attribute, items), in their order."""
    return [(key, list(group)) for key, group in groupby(items, key=lambda item: getattr(item, attribute))]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("manticore.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (count, counted, duration, listed, percent, runs_of, unbroken):
        environment.filters[function.__name__] = function
    return environment
