"""Reads, checks and atomically writes the files of ListOps in the format of the Long Range Arena.

`basic_train.tsv`, `basic_val.tsv`, `basic_test.tsv`: a header `Source`, `Target`, tab-separated, CRLF line ends.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.data_files import open_data, plain_size
from manticore.tasks.lra.listops.grammar import ExpressionError, from_source, to_source
from manticore.tasks.splits import find_split_files
from manticore.utils.console import progress_bar
from manticore.utils.io import atomic_write

FILES = {"train": "basic_train.tsv", "val": "basic_val.tsv", "test": "basic_test.tsv"}
HEADER = ("Source", "Target")
SUBFOLDERS = (".", "listops-1000", "lra_release/listops-1000", "lra_release/lra_release/listops-1000")
"""Paths of the files below folders that a user may name, as in the unpacked archive."""

LARGE_FILE = 4_000_000
MANY_EXAMPLES = 5_000
"""Smallest number of bytes to read, or of examples to write, for which a progress bar is shown."""

Expression = tuple[bytes, int]


def refuse_existing(folder: Path) -> None:
    """Raises ManticoreError if `folder` already contains one of the three files, or is no folder."""
    if folder.exists() and not folder.is_dir():
        raise ManticoreError(f"{folder} is not a folder")
    for name in FILES.values():
        if (folder / name).exists():
            raise ManticoreError(f"{folder / name} exists and is not overwritten; choose another folder")


def write_files(folder: Path, splits: Mapping[str, Collection[Expression]]) -> list[Path]:
    """Write the expressions and values of the splits; all files appear, or none.

    Args:
        folder: created if it does not exist.
        splits: `train`, `val` and `test`.

    Returns: the paths in that order. Raises ManticoreError if one exists, and CannotWrite.
    """
    refuse_existing(folder)
    paths = [folder / name for name in FILES.values()]
    with ExitStack() as stack:
        for split, path in zip(FILES, paths, strict=True):
            unfinished = stack.enter_context(atomic_write(path))
            rows = len(splits[split])
            with (
                unfinished.open("w", encoding="utf-8", newline="") as stream,
                progress_bar(f"writing {path.name}", rows, shown=rows > MANY_EXAMPLES) as advance,
            ):
                writer = csv.writer(stream, delimiter="\t")
                writer.writerow(HEADER)
                for row, (codes, value) in enumerate(splits[split], start=1):
                    writer.writerow((to_source(codes), value))
                    advance(row)
    return paths


def find_files(folder: Path) -> dict[str, Path]:
    """The three files in `folder` or where the archive has them below it. Raises BadFile for a missing file."""
    return find_split_files(folder, FILES, SUBFOLDERS)


def read_file(path: Path, limit: int | None = None) -> list[Expression]:
    """The expressions of one file with their values, each checked against its Target.

    Args:
        path: one of the three files.
        limit: number of examples to read from the top. Default: all.

    Raises:
        BadFile: a line has other content than expected (the message names it), or there are fewer than `limit`
            examples.
    """
    expressions: list[Expression] = []
    try:
        with (
            open_data(path) as content,
            io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n") as stream,
            progress_bar(f"reading {path.name}", size := plain_size(path), shown=size > LARGE_FILE) as advance,
        ):
            header = stream.readline()
            if tuple(header.rstrip("\r\n").split("\t")) != HEADER:
                raise BadFile(path, f"expected the header Source<tab>Target, found {_short(header)}", line=1)
            done = len(header)
            for number, line in enumerate(stream, start=2):
                if len(expressions) == limit:
                    break
                expressions.append(_parse(path, number, line))
                done += len(line)
                if not number % 200:
                    advance(done)
    except UnicodeDecodeError:
        raise BadFile(path, "expected text in UTF-8") from None
    if len(expressions) < (limit or 1):
        raise BadFile(path, f"expected at least {limit or 1} examples, found {len(expressions)}")
    return expressions


def _parse(path: Path, number: int, line: str) -> Expression:
    columns = line.rstrip("\r\n").split("\t")
    if len(columns) != len(HEADER):
        raise BadFile(path, f"expected 2 columns Source<tab>Target, found {len(columns)}: {_short(line)}", number)
    source, target = columns
    if len(target) != 1 or target not in "0123456789":
        raise BadFile(path, f"expected a Target that is a digit 0-9, found {_short(target)}", number)
    try:
        codes, value = from_source(source)
    except ExpressionError as error:
        raise BadFile(path, str(error), number) from None
    if value != int(target):
        raise BadFile(path, f"expected the Target {value}, which is the value of Source, found {target}", number)
    return codes, value


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
