"""Memory that is freed is kept for the next step. Knows nothing of tensors.

The C library gives large blocks back to the system as soon as they are freed and gets them anew, page by page and
zeroed, at the next allocation; training on a CPU does so at every step.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 2**30


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks of up to 1 GiB in this process; returns whether it will (elsewhere: no)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _LARGE) and mallopt(_TRIM_THRESHOLD, 2 * _LARGE - 1))
