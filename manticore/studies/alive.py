"""Whether a process of this machine still lives. Knows nothing of what it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(file: Path) -> Iterator[bool]:
    """Hold a lock that one process of this machine has at a time, freed by the system if we die; False without such."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        yield False
        return
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield True


def start_time(pid: int) -> int | None:
    """When a process of this machine started, in the system's own count; None where that is not told."""
    state = _stat(pid)
    return int(state[19]) if state else None


def is_alive(pid: int, since: int | None) -> bool:
    """Whether the process is there, has not ended unburied, and is not a later one of the same number.

    Args:
        pid: its number.
        since: its `born`, or None if that is not known.
    """
    if os.name != "posix":  # there, asking would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = _stat(pid)
    return not state or (state[0] not in "ZX" and since in (None, int(state[19])))


def _stat(pid: int) -> list[str]:
    """What Linux tells of a process, from its state on; nothing elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
