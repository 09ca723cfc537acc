"""Data files of users: regular files, optionally compressed with xz or gzip, in folders with leftovers of editors."""

from __future__ import annotations

import gzip
import io
import logging
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from manticore.errors import BadFile
from manticore.utils.text_files import decode_text

log = logging.getLogger("manticore.tasks")

COMPRESSED = (".xz", ".gz")

READERS: dict[str, Any] = {".gz": gzip.GzipFile, ".xz": lzma.LZMAFile}

MOST_EXPANSION, ALWAYS_EXPANDED = 100, 64 << 20
"""Largest ratio of decompressed to compressed bytes, and the decompressed bytes up to which any ratio is read."""

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


class _Expanded(io.RawIOBase):
    """The content of a compressed file as a stream, which ends with BadFile where it is absurdly long."""

    def __init__(self, file: Path) -> None:
        self.file, self.size, self.most = file, 0, largest_content(file.stat().st_size)
        self.stream = READERS[file.suffix](file)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        super().close()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes into a buffer. Raises BadFile."""
        content = self.stream.read(len(buffer))
        self.size += len(content)
        check_expansion(self.file, self.size, self.most)
        buffer[: len(content)] = content
        return len(content)


def largest_content(size: int) -> int:
    """Most bytes that a compressed file of `size` bytes may expand to."""
    return max(ALWAYS_EXPANDED, MOST_EXPANSION * size)


def check_expansion(file: Path, size: int, most: int) -> None:
    """Raises BadFile if `size` bytes of content, or more, are in a compressed file that may have `most`."""
    if size > most:
        raise BadFile(file, f"expands to more than {most >> 20:,} MiB, {MOST_EXPANSION} times its size; decompress it")


@contextmanager
def open_data(file: Path) -> Iterator[BinaryIO | io.BufferedReader]:
    """The content of a file as a stream of bytes, decompressed if its name ends with .xz or .gz.

    Raises BadFile if it cannot be read, is damaged, or expands to more than `MOST_EXPANSION` times its size, here or
    later within the context.
    """
    method = {".gz": "gzip", ".xz": "xz"}.get(file.suffix)
    try:
        with _open(file) as stream:
            yield stream
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError, zlib.error):
        raise BadFile(file, f"damaged, or not compressed with {method}") from None
    except OSError as error:
        raise BadFile(file, f"cannot be read ({error.strerror})") from None


def _open(file: Path) -> BinaryIO | io.BufferedReader:
    if file.suffix not in COMPRESSED:
        return file.open("rb")
    return io.BufferedReader(_Expanded(file), 1 << 16)


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
