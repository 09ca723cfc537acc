"""Whether another process has a file locked."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def is_locked(file: Path) -> bool:
    """Whether a living process has the lock of a file, which need not exist.

    For a moment this process takes a lock that is free. A file that it cannot open counts as locked; on file systems
    without locks none is.
    """
    if not file.exists():
        return False
    try:
        with FileLock(file).acquire(timeout=0):
            return False
    except (Timeout, PermissionError):
        return True
    except (NotImplementedError, OSError):
        return False
