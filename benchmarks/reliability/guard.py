"""Runs a command in this process and notes what it must not do: fail otherwise than in one line, write, run code."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manticore.cli import main
from manticore.utils.memory import reset_resident_peak, resident_bytes

MOST_BYTES = 2 << 30
MOST_SECONDS = 20.0
"""Most seconds of the processor, so that a busy machine is no fault."""

MOST_LINES = 6
"""Most lines of the error output, warnings among them."""

WRITES = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
)
CODE = frozenset({"os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"})
"""Events of Python's audit hook that no input may cause."""


class TrainingBegins(BaseException):
    """The input is accepted: a training would begin."""


class Guard:
    """The audit hook of this process, which is active during `watch`.

    Args:
        written: folders in which commands may write.
        inputs: folder whose code must not be run.
    """

    def __init__(self, written: list[Path], inputs: Path) -> None:
        self.written = tuple(str(folder) for folder in written)
        self.inputs = str(inputs)
        self.faults: list[str] = []
        self.active = False
        sys.addaudithook(self._note)

    @contextmanager
    def watch(self) -> Iterator[list[str]]:
        """Collect faults within the context."""
        self.faults, self.active = [], True
        try:
            yield self.faults
        finally:
            self.active = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in CODE:
            self.faults.append(f"code: {event} {str(arguments)[:80]}")
        elif event == "exec" and getattr(arguments[0], "co_filename", "").startswith(self.inputs):
            self.faults.append(f"code: of {arguments[0].co_filename}")
        elif event in WRITES or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            self._check_path(event, arguments[0])

    def _check_path(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            full = os.path.realpath(os.fsdecode(path))
            if not full.startswith((*self.written, "/dev/")):
                self.faults.append(f"outside: {event} {full}")


def _writes(flags: Any) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def faults_of(words: list[str], guard: Guard, marker: Path) -> tuple[int, list[str], str]:
    """Exit status of a command, its faults, and the end of its error output. A training that begins ends it with 0."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = [os.dup(1), os.dup(2)]
        streams = sys.stdout, sys.stderr
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
        reset_resident_peak()
        started = time.process_time()
        try:
            with guard.watch() as faults:
                status = _status(words, faults)
            for stream in (sys.stdout, sys.stderr):
                stream.close()
        finally:
            sys.stdout, sys.stderr = streams
            for number, saved in enumerate(kept, start=1):
                os.dup2(saved, number)
                os.close(saved)
        err.seek(0)
        text = err.read().decode("utf-8", "replace")
    if (seconds := time.process_time() - started) > MOST_SECONDS:
        faults.append(f"seconds: {seconds:.0f}")
    if (peak := resident_bytes("VmHWM") or 0) > MOST_BYTES:
        faults.append(f"memory: {peak / (1 << 30):.1f} GiB")
    if marker.exists():
        faults.append("code: the trap was run")
        marker.unlink()
    return status, faults + _output_faults(status, text), text[-600:]


def _status(words: list[str], faults: list[str]) -> int:
    try:
        return main(words)
    except TrainingBegins:
        return 0
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        own = [f for f in traceback.extract_tb(error.__traceback__) if "/manticore/" in f.filename][-1]
        faults.append(
            f"traceback: {type(error).__name__} {str(error)[:100]} at {Path(frame.filename).name}:{frame.lineno} "
            f"from {own.filename.rpartition('/manticore/')[2]}:{own.lineno}"
        )
        return -1


def _output_faults(status: int, text: str) -> list[str]:
    lines = text.splitlines()
    faults = [] if status in (0, 2, -1) else [f"status: {status} {lines[-1][:200] if lines else ''}"]
    if "Traceback" in text or "panicked" in text:
        faults.append(f"output: {next(line for line in lines if 'Traceback' in line or 'panicked' in line)[:120]}")
    if status == 2 and not (lines and lines[-1].startswith("manticore")):
        faults.append(f"output: does not end with an error: {lines[-1:]}")
    if status == 2 and len(lines) > MOST_LINES:
        faults.append(f"output: {len(lines)} lines")
    return faults
