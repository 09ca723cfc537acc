"""Atomic writing of files and folders, JSON, and the cache folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manticore.utils.failures import writing
from manticore.utils.text_files import parse_json, read_text

PART = ".part"
"""End of the names of temporary files and folders, which begin with a dot."""


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it is flushed to disk and replaces `path`, on error removed.

    Raises CannotWrite, with `path`, if the disk is full or it cannot be written for another reason.
    """
    path = Path(path)
    with writing(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    os.close(handle)
    part = Path(name)
    try:
        with writing(path, part):
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; on success it is flushed to disk and renamed, on error removed.

    If another process has created `path` in the meantime, that folder is kept. Raises CannotWrite, with `path`.
    """
    with writing(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART))
    try:
        with writing(path, part):
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)
                    with file.open("rb") as stream:
                        os.fsync(stream.fileno())
            part.chmod(0o755)
            try:
                part.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def cache_folder(folder: str | None = None) -> Path:
    """The folder for generated data: `folder`, else $MANTICORE_CACHE, else ~/.cache/manticore."""
    return Path(folder or os.environ.get("MANTICORE_CACHE") or "~/.cache/manticore").expanduser()


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`. Raises BadFile if it cannot be read or is not JSON."""
    return parse_json(read_text(path), path)


def slug(name: str) -> str:
    """A name as a file name: `alone gpt-neo` becomes `alone-gpt-neo`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
