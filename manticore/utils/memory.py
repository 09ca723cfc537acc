"""The memory of this process, now and at its peak, and how long the process has run."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import torch

_STATUS, _CLEAR, _STAT = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/self/stat")


def reset_peak_memory() -> None:
    """Let `peak_memory` count from now on, where the system can: Linux, and GPUs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    reset_resident_peak()


def peak_memory() -> int:
    """Bytes at the peak: allocated tensors on a GPU if there is one, else the resident memory of the process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resident_bytes("VmHWM")
    if peak is None:
        scale = 1 if sys.platform == "darwin" else 1024
        return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak


def resident_bytes(field: str = "VmRSS") -> int | None:
    """Resident memory of this process in bytes: `VmRSS` now, `VmHWM` at its peak; None outside of Linux."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return None


def reset_resident_peak() -> bool:
    """Set the peak of the resident memory to the present size; False where the system cannot."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def process_seconds() -> float:
    """Seconds since the process started; 0 where the system does not report it."""
    try:
        ticks = int(_STAT.read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0
