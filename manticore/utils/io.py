"""Files and folders that appear whole or not at all, and where made ones are kept. Knows nothing of their contents."""

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

from manticore.errors import BadFile


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed over it, on error removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it is flushed and becomes `path`, on error removed.

    A `path` that is there by then, made by another process, stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                file.chmod(0o644)
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        part.chmod(0o755)
        try:
            part.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def cache_folder(given: str | None = None) -> Path:
    """The folder for what was made once: `given`, else $MANTICORE_CACHE, else ~/.cache/manticore."""
    return Path(given or os.environ.get("MANTICORE_CACHE") or "~/.cache/manticore").expanduser()


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`. Raises BadFile if it cannot be read or is not JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # text, JSON, or numbers that are none
        raise BadFile(path, f"not JSON ({error})", getattr(error, "lineno", None)) from None


def slug(phase: str) -> str:
    """A name as a file name: `alone gpt-neo` is `alone-gpt-neo`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", phase).strip("-")
