"""Text and JSON as users write them: with any byte order mark, with long numbers, deeply nested."""

from __future__ import annotations

import codecs
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

from manticore.errors import BadFile

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


def unmarked_bytes(content: bytes, file: Path | str) -> bytes:
    """The content in UTF-8 if it has a byte order mark, which is dropped; else as it is. Raises BadFile."""
    return decode_text(content, file).encode() if content.startswith(tuple(mark for mark, _ in _MARKS)) else content


def canonical_text(text: str) -> str:
    """The text in composed characters (Unicode's NFC), with single spaces as white space: a key for equal texts."""
    return " ".join(unicodedata.normalize("NFC", text).split())


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
