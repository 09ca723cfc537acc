"""Data files of users: regular files, optionally compressed with xz or gzip, in folders with leftovers of editors."""

from __future__ import annotations

import gzip
import logging
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from manticore.errors import BadFile
from manticore.utils.text_files import decode_text

log = logging.getLogger("manticore.tasks")

COMPRESSED = (".xz", ".gz")

LEFT_BEHIND = (".", "~$", "#")
"""Prefixes of files that macOS (`._a.txt`), editors (`.#a.txt`, `#a.txt#`) and office suites (`~$a.txt`) leave."""


def kind_of(file: Path) -> str:
    """The suffix without compression: `.txt` of `a.txt`, `a.txt.xz` and `a.txt.gz`."""
    return Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix


def find_data_files(path: Path, kinds: Collection[str], log_others: bool = True) -> list[Path]:
    """A file itself, or the files of a folder that have one of these suffixes before that of a compression, by name.

    Files that systems and editors leave beside others are passed over, and counted in a log line if `log_others`.

    Raises BadFile for what is no regular file (`check_regular`).
    """
    if not path.is_dir():
        return [check_regular(path)]
    entries = sorted(file for file in path.glob("*") if kind_of(file) in kinds and not file.is_dir())
    files = [file for file in entries if not file.name.startswith(LEFT_BEHIND)]
    passed_over = len(entries) - len(files)
    if passed_over and log_others:
        log.warning("%s: passed over %d files that a system or an editor has left there", path, passed_over)
    return [check_regular(file) for file in files]


def is_stored(path: Path) -> bool:
    """Whether there is a file of this name, or of this name with .xz or .gz after it."""
    return any(file.exists() or file.is_symlink() for file in _with_compression(path))


def stored_file(path: Path, hint: str = "") -> Path:
    """A file, or the compressed one in its place: `a.tsv`, `a.tsv.xz` or `a.tsv.gz`.

    Raises BadFile if there is none, with the hint in the message, or if it is no regular file (`check_regular`).
    """
    file = next((file for file in _with_compression(path) if file.exists() or file.is_symlink()), None)
    if file is None:
        raise BadFile(path, f"no such file{hint}")
    return check_regular(file)


def _with_compression(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in COMPRESSED)]


def check_regular(file: Path) -> Path:
    """The file itself.

    Raises BadFile if there is none, and for what cannot be read to an end: named pipes, devices, and links that lead to
    no file.
    """
    if file.is_file():
        return file
    if file.is_dir():
        raise BadFile(file, "a folder, where a file is expected")
    if not file.exists():
        raise BadFile(file, "a link that leads to no file" if file.is_symlink() else "no such file")
    raise BadFile(file, "no regular file: named pipes and devices are not read")


@contextmanager
def open_data(file: Path) -> Iterator[BinaryIO | gzip.GzipFile | lzma.LZMAFile]:
    """The content of a file as a stream of bytes, decompressed if its name ends with .xz or .gz.

    Raises BadFile if it cannot be read, or is damaged, here or later within the context.
    """
    method = {".gz": "gzip", ".xz": "xz"}.get(file.suffix)
    try:
        with _open(file) as stream:
            yield stream
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError, zlib.error):
        raise BadFile(file, f"damaged, or not compressed with {method}") from None
    except OSError as error:
        raise BadFile(file, f"cannot be read ({error.strerror})") from None


def _open(file: Path) -> BinaryIO | gzip.GzipFile | lzma.LZMAFile:
    if file.suffix == ".gz":
        return gzip.open(file)
    return lzma.open(file) if file.suffix == ".xz" else file.open("rb")


def plain_size(file: Path) -> int:
    """Number of bytes of a file; 0 for a compressed one, whose content has another number."""
    return 0 if file.suffix in COMPRESSED else file.stat().st_size


def read_bytes(file: Path) -> bytes:
    """The content of a file, decompressed if its name ends with .xz or .gz. Raises BadFile."""
    with open_data(file) as stream:
        return stream.read()


def read_text(file: Path) -> str:
    """The content of a file as text, with `\\n` as line ends and no byte order mark. Raises BadFile if it is none."""
    text = decode_text(read_bytes(file), file)
    if "\0" in text:
        raise BadFile(file, f"not text: a zero byte at character {text.index(chr(0)):,}")
    return text.replace("\r\n", "\n").replace("\r", "\n")
