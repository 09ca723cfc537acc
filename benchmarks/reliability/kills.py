"""Kill a search with SIGKILL at random moments, resume it each time, and compare it with one that was never killed.

Each run is a fork of this process, which has imported everything, so that a kill costs no start of Python.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import manticore as mc
from manticore.results.search import SearchResult

TASK = {"name": "mad-compression@vocab_size=4,seq_len=6", "preset": "cpu", "train": 96, "val": 32, "test": 32}
KEYS: dict[str, Any] = {
    "scratch": {
        "attention": {"width": 16, "layers": 2, "heads": 2, "intermediate_size": 32},
        "recurrent": {"width": 16, "layers": 2, "state_size": 4},
    },
    "search": {"strategy": "darts", "steps": 12, "warmup_steps": 4, "batch_size": 8},
    "finetune": {"steps": 6, "batch_size": 8},
    "run": {"checkpoint_every": 2, "log_every": 1, "device": "cpu", "threads": 1},
}
COMPARED = ("alphas.jsonl", "architecture.json", "hybrid/model.safetensors", "hybrid/config.json")
"""Files that are compared byte by byte, beside all weights in `checkpoints`."""


def search(out: Path) -> None:
    """The search in `out`, resumed if it has begun."""
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2)
    mc.search(space, TASK, out=out, resume=out.exists(), quiet=True, **KEYS)


def run_in_fork(out: Path, seconds: float | None = None) -> int:
    """The exit status of a search in a process of its own, which is killed after `seconds` unless it ends before."""
    process = multiprocessing.get_context("fork").Process(target=search, args=(out,))
    process.start()
    process.join(seconds)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def differences(resumed: Path, reference: Path) -> list[str]:
    """What differs in a resumed run: files by name, and `scores` for the numbers of the result."""
    weights = [str(file.relative_to(reference)) for file in (reference / "checkpoints").iterdir()]
    names = [*COMPARED, *(name for name in weights if name.endswith(".safetensors"))]
    found = [name for name in names if (resumed / name).read_bytes() != (reference / name).read_bytes()]
    scores = [replace(SearchResult.load(folder), seconds={}) for folder in (resumed, reference)]
    found += ["scores"] if scores[0] != scores[1] else []
    left = [file for file in resumed.rglob("*") if file.suffix in (".ckpt", ".part")]
    return found + [f"{file.relative_to(resumed)} is left" for file in left]


def measure(folder: Path, kills: int, seed: int = 0, until: float = math.inf) -> dict[str, Any]:
    """Kill runs in `folder` until there were `kills` kills; each run is killed up to five times.

    After the time `until` no run is begun.

    Returns the numbers of `kills` and `runs`, the `different` files, and the `seconds` of an uninterrupted run.
    """
    rng = random.Random(seed)
    reference = folder / "reference"
    search(folder / "first")  # compiles and caches what later runs share
    started = time.monotonic()
    if run_in_fork(reference) != 0:
        raise SystemExit("the search without a kill failed")
    seconds = time.monotonic() - started
    done, runs, different = 0, 0, []
    while done < kills and time.monotonic() < until:
        out = folder / f"run-{runs}"
        for _ in range(min(5, kills - done)):
            status = run_in_fork(out, rng.uniform(0.02, 0.9) * seconds)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                different.append(f"run {runs} ended with status {status}")
                break
            done += 1
        if (status := run_in_fork(out)) != 0:
            different.append(f"run {runs} ended with status {status}")
        else:
            different += [f"run {runs}: {name}" for name in differences(out, reference)]
        runs += 1
    return {"kills": done, "runs": runs, "different": different, "seconds": seconds}
