"""Errors of libraries and of the operating system in one line: files that cannot be written, damaged files, memory."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manticore.errors import CannotWrite, ManticoreError

MACHINE = frozenset(
    getattr(errno, name, -1)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOMEM", "EMFILE", "ENFILE", "ENODEV", "EROFS", "ESTALE")
)
"""Error numbers whose cause is the machine: a full disk, a quota, a limit. Another input does not avoid them."""

LIBRARIES = ("safetensors", "safetensors_rust", "tokenizers", "transformers", "pyarrow", "zipfile", "lzma", "zlib")
"""Packages whose own errors mean a damaged file, or one that cannot be written."""

OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|Unable to allocate", re.IGNORECASE)
MEMORY_ADVICE = "smaller batches or run.micro_batch_size need less"

SHOWN = 200
"""Most characters of another library's message."""

_TORCH_WRITER = "inline_container"
_NUMBER = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")


@contextmanager
def writing(path: Path | str, part: Path | str | None = None) -> Iterator[None]:
    """Name `path` in errors of the block, which writes it.

    Args:
        path: the file or folder that is written.
        part: where it is written meanwhile, if that is another path.

    Raises CannotWrite in place of errors of the operating system and of libraries about `path` or `part`. Errors that
    name another file, and all other errors, stay as they are.
    """
    try:
        yield
    except Exception as error:
        problem = write_problem(path, error, part)
        if problem is None:
            raise
        raise problem from error


def write_problem(path: Path | str, error: BaseException, part: Path | str | None = None) -> CannotWrite | None:
    """The error that `path` cannot be written, if that is what `error` says; see `writing`."""
    if isinstance(error, CannotWrite) and part is not None and error.path.is_relative_to(part):
        return CannotWrite(Path(path) / error.path.relative_to(part), error.reason, error.exit_status)
    if isinstance(error, ManticoreError | BrokenPipeError | InterruptedError):  # Python retries interrupted calls
        return None
    if isinstance(error, RuntimeError) and _TORCH_WRITER in str(error):  # torch.save, which hides the error before it
        error = error.__context__ or error
    number, reason = os_error(error)
    if number == errno.EEXIST:
        reason = "a file has the name of its folder"
    if not reason:
        return None
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    own = tuple(str(name) for name in (path, part) if name is not None)
    if number not in MACHINE and any(isinstance(name, str | Path) and not _is_below(str(name), own) for name in names):
        return None
    by_machine = number is None or number in MACHINE or number == errno.ENOENT  # its folder is gone
    return CannotWrite(path, reason, 1 if by_machine else 2)


def os_error(error: BaseException) -> tuple[int | None, str]:
    """Number and text of an error of the operating system; None and '' for other errors.

    shutil and libraries in Rust have the number in their message, and numpy has none for a full disk.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.errno, error.strerror
    is_os_error = isinstance(error, OSError)
    match = _NUMBER.search(str(error)) if is_os_error or _is_library_error(error) else None
    if match is not None:
        number = int(match[1] or match[2])
        return number, os.strerror(number)
    return None, _short(error) if is_os_error else ""


def in_words(error: Exception) -> ManticoreError | None:
    """An error of a library, of the operating system or of missing memory as one line; None for any other error."""
    if isinstance(error, ManticoreError):
        return error
    number, reason = os_error(error)
    if reason:
        file = getattr(error, "filename", None)
        unnamed = f"the output or a file cannot be written: {reason}" if number in MACHINE else reason
        message = f"{os.fsdecode(file)}: {reason}" if isinstance(file, str | bytes | Path) else unnamed
        return ManticoreError(message, 1 if number is None or number in MACHINE else 2)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
        return ManticoreError(f"not enough memory ({_short(error) or 'MemoryError'}); {MEMORY_ADVICE}", 1)
    if _is_library_error(error):
        return ManticoreError(f"a file is damaged, or cannot be written ({type(error).__module__}: {_short(error)})", 1)
    return None


def _is_library_error(error: BaseException) -> bool:
    """Whether a library raised it. tokenizers raises a plain `Exception`, which is known by the caller's module."""
    module = type(error).__module__
    if type(error) is Exception and error.__traceback__ is not None:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        module = str(frame.f_globals.get("__name__"))
    return module.partition(".")[0] in LIBRARIES


def _is_below(name: str, paths: tuple[str, ...]) -> bool:
    return any(name == path or name.startswith(f"{path}{os.sep}") for path in paths)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:SHOWN]
