"""Runs each script in a process of its own that has imported the packages already: that takes most of the time."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from multiprocessing import get_context
from pathlib import Path

PRELOADED = ("manticore.api", "manticore.cli", "manticore.kernels", "lightning", "datasets", "numba", "torch")


def run_script(file: Path, environment: dict[str, str], timeout: float) -> str:
    """Run a script as `__main__` with its folder as the current one. Return what it wrote to both streams.

    Raises AssertionError with the end of that output if the script fails or takes longer than `timeout` seconds.
    """
    log = file.with_suffix(".log")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))  # read when the first process of this worker starts
    process = context.Process(target=_run, args=(str(file), environment, str(log)))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    assert process.exitcode == 0, output[-3000:]
    process.close()
    return output


def _run(file: str, environment: dict[str, str], log: str) -> None:
    os.environ.update(environment)
    os.chdir(Path(file).parent)
    sys.path.insert(0, str(Path(file).parent))
    sys.argv = [file]
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
