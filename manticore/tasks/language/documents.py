"""Documents from local files: .txt, .jsonl and .parquet, any of them compressed with xz. Knows no tokens.

What stands in one document hangs together; what stands in two does not, unless records of a .jsonl file name the same
`group`. In a .txt file documents are parted by lines that say `<|endoftext|>`. Long ones can be cut between paragraphs
into passages.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, ManticoreError

SEPARATOR = "<|endoftext|>"
KINDS = (".txt", ".jsonl", ".parquet")
FIELDS = ("text", "content", "document")
"""Where a record keeps its text: the first of these that it has."""

PARAGRAPHS = re.compile(r"\n[ \t]*\n+")
"""What parts paragraphs."""

NO_LETTER = re.compile("[\0\ud800-\udfff]")
"""What JSON can say and UTF-8 text cannot: zero, and half of a pair."""


def read_documents(place: Path) -> dict[str, list[str]]:
    """The documents of a file, or of all files in a folder, by the file's name.

    Args:
        place: a .txt, .jsonl or .parquet file, with .xz after that if it is compressed; or a folder of such files.

    Raises BadFile, with place, if a file is empty, no text, or not what its name says.
    """
    return {file.name: _read(file) for file in _files(place)}


def passages(text: str, size: int) -> list[str]:
    """A document cut between paragraphs, or else between lines, into parts of about `size` bytes; 0: left whole."""
    if not size or len(text.encode()) <= size:
        return [text]
    parts: list[list[str]] = [[]]
    held = 0
    for paragraph in PARAGRAPHS.split(text):
        for piece, mark in _pieces(paragraph, size):
            length = len(piece.encode())
            if parts[-1] and held + length > size:
                parts.append([])
                held = 0
            parts[-1].append(piece + mark)
            held += length + len(mark)
    return [whole for part in parts if (whole := "".join(part).strip("\n"))]


def _pieces(paragraph: str, size: int) -> list[tuple[str, str]]:
    """A paragraph and what parts it from the next; its lines if it is longer than a passage."""
    if len(paragraph.encode()) <= size:
        return [(paragraph, "\n\n")]
    lines = paragraph.split("\n")
    return [*((line, "\n") for line in lines[:-1]), (lines[-1], "\n\n")]


def _files(place: Path) -> list[Path]:
    files = [place] if place.is_file() else sorted(file for file in place.glob("*") if kind_of(file) in KINDS)
    if not place.exists():
        raise ManticoreError(f"no such file or folder of text: {place}")
    if not files:
        raise BadFile(place, f"no text in it; expected {', '.join(KINDS)} files")
    return files


def kind_of(file: Path) -> str:
    """`.txt` of `a.txt` and of `a.txt.xz`."""
    return Path(file.stem).suffix if file.suffix == ".xz" else file.suffix


def _read(file: Path) -> list[str]:
    if kind_of(file) not in KINDS:
        raise BadFile(file, f"expected a {', '.join(KINDS)} file, or one of them with .xz after it")
    texts = list(_parquet(file) if kind_of(file) == ".parquet" else _lines(file))
    held = [text for text in texts if text.strip()]
    if not held:
        raise BadFile(file, "there is no text in it")
    return held


def _lines(file: Path) -> Iterator[str]:
    if kind_of(file) == ".txt":
        parts = re.split(rf"^{re.escape(SEPARATOR)}\s*$", text_in(file), flags=re.MULTILINE)
        yield from (part.strip("\n") for part in parts)
        return
    for number, record in _records(file):
        yield text_of(record, file, number)


def bytes_in(file: Path) -> bytes:
    """What is in a file, decompressed if it ends with .xz. Raises BadFile."""
    try:
        return lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
    except lzma.LZMAError:
        raise BadFile(file, "damaged, or not compressed with xz") from None


def text_in(file: Path) -> str:
    """A file as text, line ends as `\\n`. Raises BadFile if it is none."""
    try:
        text = bytes_in(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(file, f"not UTF-8 text (byte {error.start:,} cannot be read)") from None
    if "\0" in text:
        raise BadFile(file, f"not text: a zero byte at character {text.index(chr(0)):,}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_groups(place: Path) -> dict[str, dict[str, str]]:
    """By file, the documents whose record in a .jsonl file has a `group`, each with it: what hangs together.

    Raises as `read_documents` does, and BadFile for a group that is no whole number and no text.
    """
    out: dict[str, dict[str, str]] = {}
    for file in _files(place):
        held = out.setdefault(file.name, {})
        for number, record in _records(file) if kind_of(file) == ".jsonl" else ():
            group = record.get("group") if isinstance(record, dict) else None
            if type(group) not in (int, str, type(None)):
                raise BadFile(file, "'group' must be a whole number or a text", number)
            if group is not None:
                held[text_of(record, file, number)] = f"group {group}"
    return out


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """What a .jsonl file holds, with the number of its line."""
    for number, line in enumerate(text_in(file).split("\n"), start=1):  # what else ends a line may stand in a JSON text
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):  # numbers of too many digits, and lists in lists in lists
                raise BadFile(file, "not JSON", number) from None


def text_of(record: Any, file: Path, number: int) -> str:
    """The text of a record. Raises BadFile if it has none."""
    texts = [record[field] for field in FIELDS if field in record] if isinstance(record, dict) else [record]
    if not texts or not isinstance(texts[0], str):
        raise BadFile(file, f"expected a record with a text in one of {', '.join(FIELDS)}", number)
    return has_tokens(texts[0], file, number)


def has_tokens(text: str, file: Path, number: int | None = None) -> str:
    """The text itself. Raises BadFile if it holds what no text in UTF-8 does."""
    if wrong := amiss(text):
        raise BadFile(file, f"the text {wrong}", number)
    return text


def amiss(text: str) -> str:
    """What of a text no text in UTF-8 holds, in words; empty if there is nothing."""
    found = NO_LETTER.search(text)
    return "" if found is None else f"holds \\u{ord(found[0]):04x}, which is no letter"


def _parquet(file: Path) -> Iterator[str]:
    """The texts of a table's first column that is called like one; rows without a text are left out."""
    import pyarrow
    import pyarrow.parquet  # here, for it takes a second; it comes with `datasets`

    held = pyarrow.BufferReader(bytes_in(file))
    try:
        opened = pyarrow.parquet.ParquetFile(held)
        field = next((field for field in FIELDS if field in opened.schema_arrow.names), None)
        texts = [] if field is None else opened.read([field]).column(field).to_pylist()
    except Exception:  # Arrow has many
        raise BadFile(file, "not a parquet file, or damaged") from None
    if field is None:
        raise BadFile(file, f"expected a column {', '.join(FIELDS)}")
    for number, text in enumerate(texts, start=1):
        if text is not None:
            yield text_of(text, file, number)
