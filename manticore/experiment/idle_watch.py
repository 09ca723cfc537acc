"""Detects a thread that hangs in a living process: it waits for a file system that does not answer, or for a lock.

Such a thread uses no CPU time at all. One that trains, scores, compiles, or reads and writes files uses some within
minutes. One that waits for another process is recognized by the functions on its stack.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

from manticore.utils.interval_thread import IntervalThread

INTERVAL = 1.0
"""Seconds between two looks at the thread."""

MOST_IDLE = 300
"""Number of intervals without CPU time after which a thread counts as hanging."""

WAITS = ("/torch/distributed/", "/subprocess.py", "/multiprocessing/", "/concurrent/futures/", "/bdb.py")
"""Parts of the paths of files whose functions wait for other processes of the run, for programs, or for a user."""

LIBRARY = str(Path(threading.__file__).parent)
"""The folder of Python's own library."""


def idleness(rank: int, location: str) -> str:
    """Why a process counts as hanging, for the user."""
    return f"process {rank} has done nothing for {MOST_IDLE * INTERVAL:.0f} seconds, in {location}"


class IdleWatch(IntervalThread):
    """A context in which the thread that opens it is watched, on systems with a CPU clock for each thread.

    Intervals are counted and not seconds, so that a process that is stopped by Ctrl-Z and continued later is not idle.

    Args:
        is_working: whether the thread has work to do at this moment; otherwise it may wait.
        idle: called once, in another thread, with the function in which the thread hangs.
    """

    def __init__(self, is_working: Callable[[], bool], idle: Callable[[str], None]) -> None:
        super().__init__("manticore-idle", INTERVAL)
        self.is_working, self.idle = is_working, idle
        self._thread_id = threading.get_ident()
        self._intervals, self._before = 0, -1.0

    def __enter__(self) -> Self:
        if not hasattr(time, "pthread_getcpuclockid"):
            return self
        self._clock = time.pthread_getcpuclockid(self._thread_id)
        return super().__enter__()

    def tick(self) -> bool:
        """Read the CPU time of the watched thread. Returns whether it hangs."""
        now = time.clock_gettime(self._clock)
        is_idle = now == self._before and self.is_working() and not self._waits()
        self._intervals, self._before = self._intervals + 1 if is_idle else 0, now
        if self._intervals < MOST_IDLE:
            return False
        self.idle(self._location())
        return True

    def _frames(self) -> Iterator[FrameType]:
        """The stack of the thread, from the innermost function on."""
        frame = sys._current_frames().get(self._thread_id)
        while frame is not None:
            yield frame
            frame = frame.f_back

    def _waits(self) -> bool:
        """Whether the thread waits for another process."""
        return any(part in frame.f_code.co_filename for frame in self._frames() for part in WAITS)

    def _location(self) -> str:
        """The innermost function that the thread is in, but for those of Python's own library."""
        frames = list(self._frames())
        frame = next((frame for frame in frames if not _is_of_python(frame.f_code.co_filename)), frames[0])
        return f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"


def _is_of_python(file: str) -> bool:
    return file.startswith("<frozen") or (file.startswith(LIBRARY) and "site-packages" not in file)
