"""YAML as all files and options of the project are read: safely, within bounds, without equal keys in a mapping."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MOST_NODES = 100_000
"""Most values of a text, those counted again that an alias repeats."""

DEEPEST = 100
"""Most levels of a text."""

MOST_BITS = 1024
"""Most bits of a whole number; larger ones are no float either."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that also reads `1e-3` as a number, as YAML 1.2 does, and refuses equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises ConstructorError where a key stands twice; `<<` may be overridden."""
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[Hashable] = set()
        for key_node in own:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise ConstructorError(None, None, f"the key '{key}' stands twice in this mapping", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, [*"-+0123456789"])


def load_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises yaml.YAMLError if it is not YAML, a number or a date is none, a key stands twice in a mapping, it is nested
    too deeply or without end, or it is too large.
    """
    try:
        value = yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, OverflowError) as error:  # a number with too many digits, a date such as 2026-13-01
        raise yaml.YAMLError(str(error)) from None
    _check_extent(value)
    return value


def yaml_problem(error: yaml.YAMLError) -> tuple[str, int | None]:
    """What is wrong with a YAML text, in a few words, and its line, counted from 1, if it is known."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"not YAML ({error})", None
    problem = str(getattr(error, "problem", ""))
    return problem if "stands twice" in problem else "not YAML", mark.line + 1


def _check_extent(value: Any) -> None:
    """Raises yaml.YAMLError for a number or a structure that messages and dataclasses could not hold."""
    left, nodes = [(value, 0)], 0
    while left:
        node, depth = left.pop()
        nodes += 1
        if nodes > MOST_NODES or depth > DEEPEST:
            raise yaml.YAMLError("nested too deeply, or too large")
        if isinstance(node, int) and node.bit_length() > MOST_BITS:
            raise yaml.YAMLError("a whole number has too many digits")
        items = [*node.keys(), *node.values()] if isinstance(node, dict) else node
        if isinstance(items, list | tuple | set):
            left += [(item, depth + 1) for item in items]
