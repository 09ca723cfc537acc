"""Splits grouped entries of docstrings, so that `a, b: text` documents both `a` and `b` on the reference pages."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?:[ ]+.*)?(?:\n|\Z))+", re.MULTILINE)
ENTRY = re.compile(r"^(    )(\w+(?:,\s+\w+)+):\s+(\S.*(?:\n     +.*)*)", re.MULTILINE)


class SplitGroups(Extension):
    """An extension of griffe, which reads docstrings for mkdocstrings."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = split_groups(obj.docstring.value)


def split_groups(docstring: str) -> str:
    """The docstring with one entry for each name."""
    return SECTION.sub(lambda section: ENTRY.sub(_entries, section[0]), docstring)


def _entries(group: re.Match[str]) -> str:
    indent, names, text = group.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in re.split(r",\s+", names))
