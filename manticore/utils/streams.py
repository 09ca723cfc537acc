"""Standard output and error: in any encoding, and closed early by the reader of a pipe. Imports nothing heavy."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

PLAIN = {"±": "+-", "·": "|", "×": "x", "–": "-", "−": "-", "…": "...", "→": "->", "²": "^2", "“": '"', "”": '"'}
"""Replacements of signs of messages and tables that the encoding of the output lacks."""

ESCAPE = "manticore-escape"
"""Name of the error handler `_escape` for codecs."""


def write_now(text: str) -> None:
    """Write text to standard output as it is, without waiting for the end of a line."""
    sys.stdout.write(text)
    sys.stdout.flush()


def allow_any_encoding() -> None:
    """Let standard output and error replace characters that their encoding lacks, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=ESCAPE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """The plain spelling of signs that cannot be encoded; `\\u4e16` of other characters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    plain = [PLAIN.get(char, char.encode("ascii", "backslashreplace").decode()) for char in characters]
    return "".join(plain), error.end


codecs.register_error(ESCAPE, _escape)


def discard_output() -> None:
    """Discard the output that is not yet written: the interpreter flushes the output once more when it ends."""
    with suppress(OSError, ValueError):  # an output that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
