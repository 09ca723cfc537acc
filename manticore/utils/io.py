"""Atomic writing of files and folders, JSON, and the cache folder."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from manticore.errors import CannotWrite
from manticore.utils.failures import writing
from manticore.utils.text_files import parse_json, read_text

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

PART = ".part"
"""End of the names of temporary files and folders, which begin with a dot."""

_STALE = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_swept: set[Path] = set()

run_folders: dict[Path, tuple[int, int]] = {}
"""Folders of runs that this process has locked, with their identity: if one is gone, or another one has its name,
nothing below it is written any more."""


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """What no other folder has at the same time; None if there is no such folder."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_run_folder(path: Path) -> None:
    """Raises CannotWrite if `path` is in the folder of a run that is gone, though another one may have its name."""
    for folder, identity in run_folders.items():
        if path.is_relative_to(folder) and folder_identity(folder) != identity:
            raise CannotWrite(path, os.strerror(errno.ENOENT))


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it is flushed to disk and replaces `path`, on error removed.

    Raises CannotWrite, with `path`, if the disk is full or it cannot be written for another reason.
    """
    path = Path(path)
    with _part(path, _new_file) as part, writing(path, part):
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; on success it is flushed to disk and renamed, on error removed.

    If another process has created `path` in the meantime, that folder is kept. Raises CannotWrite, with `path`.
    """
    with _part(path, _new_folder) as part, writing(path, part):
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


@contextmanager
def _part(path: Path, create: Callable[[Path], Path]) -> Iterator[Path]:
    """A new temporary file or folder next to `path`, locked until the context ends, and removed then if it is there.

    The first time that this process writes into a folder, what killed processes have left there is removed: parts that
    no process has locked.
    """
    with writing(path, path.parent):
        check_run_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent not in _swept:
            _swept.add(path.parent)
            remove_stale_parts(path.parent)
        part, handle = create(path), None
        while fcntl is not None:
            handle = os.open(part, os.O_RDONLY)
            if _lock(handle) and _is_at(handle, part):
                break
            os.close(handle)  # another process took it for abandoned before it was locked
            part = create(path)
    try:
        yield part
    finally:
        _remove(part)
        if handle is not None:
            os.close(handle)


def _new_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    os.close(handle)
    return Path(name)


def _new_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART))


def remove_leftover(file: Path) -> None:
    """Remove a file that a finished command could not remove, if this is possible now."""
    with suppress(OSError):
        file.unlink()


def remove_stale_parts(folder: Path, owned: bool = False) -> None:
    """Remove the temporary files and folders that killed processes have left in a folder: no process has locked them.

    Args:
        folder: an existing folder.
        owned: no other process writes there, so locks, which some file systems lack, do not matter.
    """
    for part in [entry for entry in folder.iterdir() if _STALE.fullmatch(entry.name)]:
        if owned:
            _remove(part)
            continue
        try:
            handle = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # renamed just now, or a link
            continue
        if _lock(handle, without_locks=False):
            _remove(part)
        os.close(handle)


def _lock(handle: int, without_locks: bool = True) -> bool:
    """Lock a part; False if another process has locked it, `without_locks` where files cannot be locked."""
    if fcntl is None:  # Windows
        return without_locks
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True


def _is_at(handle: int, part: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), part.lstat())
    except FileNotFoundError:
        return False


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):  # of a folder that is gone or read-only: the error before says so
            part.unlink()


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
