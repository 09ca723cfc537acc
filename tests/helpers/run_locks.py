"""A process that has the lock of a run folder, as a search does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from manticore.experiment.run_lock import RunLock
with RunLock(Path(sys.argv[1])) as lock:
    lock.acquire()
    print("locked", flush=True)
    time.sleep(60)
"""


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()
            process.wait()
