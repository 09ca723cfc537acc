"""Documents from local .txt, .md, .jsonl and .parquet files, optionally compressed with xz or gzip.

Two documents are unrelated, unless their records in a .jsonl file name the same `group`. In .txt and .md files
documents are separated by lines with `<|endoftext|>`. Long documents can be cut between paragraphs into passages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.data_files import (
    COMPRESSED,
    check_expansion,
    check_regular,
    find_data_files,
    kind_of,
    largest_content,
    read_bytes,
    read_text,
)
from manticore.utils.text_files import parse_json

SEPARATOR = "<|endoftext|>"
KINDS = (".txt", ".md", ".jsonl", ".parquet")
README = "readme.md"
FIELDS = ("text", "content", "document")
"""Fields of a record that may contain its text; the first existing one is read."""

PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n+")

ROWS, ROW_BYTES = 1024, 64
"""Rows of a table that are read at once, and the memory of a row beside its text."""

MOST_LINE = 4_000_000
"""Most characters of a line; the tokens of as many need about 1 GiB while they are counted."""

NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that JSON can contain and UTF-8 text cannot: zero, and surrogates."""


@dataclass(frozen=True)
class _Record:
    """A text, with the group that its record in a .jsonl file names and the number of its line."""

    text: str
    group: Any = None
    line: int | None = None


def read_documents(path: Path) -> dict[str, list[str]]:
    """The documents of a file, or of all files of a folder, by file name.

    Args:
        path: a .txt, .md, .jsonl or .parquet file, followed by .xz or .gz if it is compressed; or a folder of such
            files. Files that systems and editors leave beside others are passed over, and counted in a log line. A
            README.md, which describes the others, is left out without a line.

    Raises BadFile, with the line, if a file is empty, is no text, has a line of more than `MOST_LINE` characters, does
    not have the format of its suffix, or is a named pipe, a device, or a link without an end.
    """
    return {file.name: [record.text for record in _read(file)] for file in _files(path)}


def read_grouped_documents(path: Path) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """The documents of a file or folder by file name, and the group of each document whose record names one.

    Raises the errors of `read_documents`, and BadFile for a group that is neither a whole number nor a text.
    """
    documents: dict[str, list[str]] = {}
    groups: dict[str, dict[str, str]] = {}
    for file in _files(path):
        records = _read(file)
        documents[file.name], groups[file.name] = [record.text for record in records], {}
        for record in records:
            if type(record.group) not in (int, str, type(None)):
                raise BadFile(file, "'group' must be a whole number or a text", record.line)
            if record.group is not None:
                groups[file.name][record.text] = f"group {record.group}"
    return documents, groups


def read_texts(path: Path) -> list[str]:
    """The documents of a file or folder; a file of another type is one document in UTF-8. Raises ManticoreError."""
    if path.is_dir() or kind_of(path) in KINDS:
        return [text for texts in read_documents(path).values() for text in texts]
    return [read_text(check_regular(path))]


def passages(text: str, size: int) -> list[str]:
    """A document cut into passages of about `size` bytes, between paragraphs or else between lines; 0: not cut."""
    if not size or len(text.encode()) <= size:
        return [text]
    pieces: list[list[str]] = [[]]
    used = 0
    for paragraph in PARAGRAPH_BREAK.split(text):
        for piece, separator in _pieces(paragraph, size):
            length = len(piece.encode())
            if pieces[-1] and used + length > size:
                pieces.append([])
                used = 0
            pieces[-1].append(piece + separator)
            used += length + len(separator)
    return [passage for parts in pieces if (passage := "".join(parts).strip("\n"))]


def _pieces(paragraph: str, size: int) -> list[tuple[str, str]]:
    """A paragraph with the separator behind it, or its lines if it is longer than a passage."""
    if len(paragraph.encode()) <= size:
        return [(paragraph, "\n\n")]
    lines = paragraph.split("\n")
    return [*((line, "\n") for line in lines[:-1]), (lines[-1], "\n\n")]


def _files(path: Path) -> list[Path]:
    if not path.exists() and not path.is_symlink():
        raise ManticoreError(f"no such file or folder of text: {path}")
    files = find_data_files(path, KINDS)
    if not files:
        raise BadFile(path, f"no text in it; expected {', '.join(KINDS)} files{_of_subfolders(path)}")
    return [file for file in files if file.name.lower() != README] or files


def _of_subfolders(path: Path) -> str:
    """The end of an error, which names the first subfolder with files of text."""
    folders = (folder for folder in sorted(path.iterdir()) if folder.is_dir())
    first = next((folder for folder in folders if any(kind_of(file) in KINDS for file in folder.iterdir())), None)
    return f", and subfolders are not read; {first} has some" if first else ""


def _read(file: Path) -> list[_Record]:
    readers = {".txt": _read_txt, ".md": _read_txt, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if kind_of(file) not in KINDS:
        raise BadFile(
            file, f"expected a {', '.join(KINDS)} file, or one of them with {' or '.join(COMPRESSED)} after it"
        )
    records = [record for record in readers[kind_of(file)](file) if record.text.strip()]
    if not records:
        raise BadFile(file, "there is no text in it")
    for record in records:
        _check_lines(record, file)
    return records


def _check_lines(record: _Record, file: Path) -> None:
    """Raises BadFile if a line is too long to be tokenized."""
    longest = max(map(len, record.text.split("\n"))) if len(record.text) > MOST_LINE else 0
    if longest > MOST_LINE:
        most = f"a text may have lines of {MOST_LINE:,}; break it into lines or documents"
        raise BadFile(file, f"a line of {longest:,} characters; {most}", record.line)


def _read_txt(file: Path) -> Iterator[_Record]:
    for text in re.split(rf"^{re.escape(SEPARATOR)}\s*$", read_text(file), flags=re.MULTILINE):
        yield _Record(text.strip("\n"))


def _read_jsonl(file: Path) -> Iterator[_Record]:
    """The texts of records; those whose text is null are left out, as in a table."""
    # Split at "\n" alone: other characters that end lines in Python may be part of a JSON text.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            record = parse_json(line, file, number)
            group = record.get("group") if isinstance(record, dict) else None
            if not is_null(record):
                yield _Record(_text_of(record, file, number), group, number)


def _read_parquet(file: Path) -> Iterator[_Record]:
    """The texts of a table's first text column; rows without a text are left out."""
    import pyarrow
    import pyarrow.parquet  # here, because it takes a second; `datasets` depends on it

    content = read_bytes(file)
    try:
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        field = next((field for field in FIELDS if field in table.schema_arrow.names), None)
        texts = [] if field is None else _column(file, table, field, largest_content(len(content)))
    except BadFile:
        raise
    except Exception:  # Arrow raises many kinds
        raise BadFile(file, "not a parquet file, or damaged") from None
    if field is None:
        raise BadFile(file, f"expected a column {', '.join(FIELDS)}")
    for number, text in enumerate(texts, start=1):
        if not is_null(text):
            yield _Record(_text_of(text, file, number))


def _column(file: Path, table: Any, field: str, most: int) -> list[Any]:
    """The values of a column, read in small parts. Raises BadFile if they have more than `most` bytes."""
    check_expansion(file, sum(table.metadata.row_group(n).total_byte_size for n in range(table.num_row_groups)), most)
    values: list[Any] = []
    size = 0
    for batch in table.iter_batches(ROWS, columns=[field]):
        size += batch.nbytes + ROW_BYTES * batch.num_rows
        check_expansion(file, size, most)
        values += batch.column(0).to_pylist()
    return values


def is_null(record: Any, fields: Sequence[str] = FIELDS) -> bool:
    """Whether a record is null, or has null in the first of the fields that it has."""
    texts = [record[field] for field in fields if field in record] if isinstance(record, dict) else [record]
    return bool(texts) and texts[0] is None


def _text_of(record: Any, file: Path, number: int) -> str:
    """The text of a record. Raises BadFile if it has none."""
    texts = [record[field] for field in FIELDS if field in record] if isinstance(record, dict) else [record]
    if not texts or not isinstance(texts[0], str):
        raise BadFile(file, f"expected a record with a text in one of {', '.join(FIELDS)}", number)
    return check_characters(texts[0], file, number)


def check_characters(text: str, file: Path, number: int | None = None) -> str:
    """The text itself. Raises BadFile if it contains a character that UTF-8 text cannot contain."""
    if problem := invalid_character(text):
        raise BadFile(file, f"the text {problem}", number)
    return text


def invalid_character(text: str) -> str:
    """The first character that UTF-8 text cannot contain, as a phrase for an error message; empty if there is none."""
    match = NOT_TEXT.search(text)
    return "" if match is None else f"contains \\u{ord(match[0]):04x}, which is no character"
