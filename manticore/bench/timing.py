"""Time and memory of two or more ways to do one thing. Knows nothing of what is done."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

Thunk = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of each run after a warm-up, in order."""

    samples: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def repeats(self) -> int:
        """How many runs there were."""
        return len(self.samples)


def ratio(of: Timing, *to: Timing) -> float:
    """How many times as long as `to` together it takes: the median over rounds, whose runs lie close in time.

    A machine that is slow for a minute slows a whole round, and the ratio hardly notices; the quotient of two medians
    would.
    """
    rounds = zip(of.samples, *(timing.samples for timing in to), strict=False)
    quotients: list[float] = [first / sum(others) for first, *others in rounds]
    return statistics.median(quotients)


def race(sides: Mapping[str, Thunk], repeats: int, budget: float) -> dict[str, Timing]:
    """Time the sides in turns, so that a busy moment of the machine hits all of them.

    Each is warmed up once and then run up to `repeats` times; a side that has used `budget` seconds, its warm-up
    included, after one timed run sits out the rest.
    """
    spent = {name: _clock(run) for name, run in sides.items()}
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            if seen[name] and spent[name] > budget:
                continue
            took = _clock(run)
            spent[name] += took
            seen[name].append(took)
    return {name: Timing(tuple(times)) for name, times in seen.items()}


def _clock(run: Thunk) -> float:
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak(run: Thunk) -> int | None:
    """Bytes by which the process grows at most while `run` runs; None where the system cannot tell.

    A process never quite shrinks back, so this is only to be trusted in a fresh one: see `peak_elsewhere`.
    """
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    before = _field(status, "VmRSS")
    reset.write_text("5")  # the high-water mark starts again from what is held now
    run()
    return max(0, _field(status, "VmHWM") - before)


def _field(status: Path, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    return int(found.group(1)) * 1024 if found else 0


def peak_elsewhere(*words: str) -> int | None:
    """`peak` as a fresh process `python -m manticore.bench.worker WORDS` prints it; None if that process fails."""
    command = [sys.executable, "-m", "manticore.bench.worker", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.split()[-1:] if done.returncode == 0 else []
    return int(last[0]) if last and last[0].isdigit() else None
