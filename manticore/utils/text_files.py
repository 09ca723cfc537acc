"""Text, JSON and YAML as users write them: with any byte order mark, with long numbers, deeply nested."""

from __future__ import annotations

import codecs
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from manticore.errors import BadFile

MOST_NODES = 100_000
"""Most values of a YAML text, those counted again that an alias repeats."""

DEEPEST = 100
"""Most levels of a YAML text."""

MOST_BITS = 1024
"""Most bits of a whole number in YAML; larger ones are no float either."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),  # after UTF-32, whose mark starts alike
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encodings that read them."""


def read_text(file: Path | str) -> str:
    """The content of a file as text, without a byte order mark. Raises BadFile if it cannot be read or is no text."""
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise BadFile(file, f"cannot be read ({error.strerror})") from None
    return decode_text(content, file)


def decode_text(content: bytes, file: Path | str) -> str:
    """Text in UTF-8, or as its byte order mark says, which is dropped. Raises BadFile, which names `file`."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise BadFile(file, f"not {kind} text (byte {error.start:,} cannot be read)") from None


def parse_json(text: str, file: Path | str, line: int | None = None) -> Any:
    """The value of a JSON text. A whole number with more digits than Python reads is infinite.

    Args:
        text: the content of a file, or a line of it.
        file: named in errors.
        line: number of the line, if `text` is one.

    Raises BadFile if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise BadFile(file, "JSON that is nested too deeply", line) from None
    except ValueError as error:
        if line is None:
            raise BadFile(file, f"not JSON ({error})", getattr(error, "lineno", None)) from None
        raise BadFile(file, "not JSON", line) from None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= sys.int_info.default_max_str_digits else float(digits)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that also reads `1e-3` as a number, as YAML 1.2 does."""


_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, [*"-+0123456789"])


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises yaml.YAMLError if it is not YAML, a number or a date is none, it is nested too deeply or without end, or it
    is too large.
    """
    try:
        value = yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, OverflowError) as error:  # a number with too many digits, a date such as 2026-13-01
        raise yaml.YAMLError(str(error)) from None
    _check_extent(value)
    return value


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
