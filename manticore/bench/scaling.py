"""How the selective scan scales on this CPU: growth with length, distance from a lower bound, first call."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from manticore.bench.kernels import SCAN, Size, setup_scan
from manticore.bench.timing import Thunk, race
from manticore.kernels.backends.cpu.threads import parallel_for
from manticore.kernels.backends.cpu.tiles import CHUNK, F2, INT, LANES, compiled, exp2

LENGTHS = (2048, 4096, 8192, 16384, 32768)

_FIRST_CALL = """
import time, torch
from manticore import kernels
x, A, B = torch.randn(1, 8, 8, requires_grad=True), -torch.ones(8, 4), torch.randn(1, 4, 8)
started = time.perf_counter()
kernels.causal_conv1d(kernels.selective_scan(x, x, A, B, B), torch.ones(8, 4)).sum().backward()
print(time.perf_counter() - started)
"""


@dataclass(frozen=True)
class LengthTiming:
    """Seconds of a scan of one length, and its time per token relative to that of the shortest one."""

    length: int
    seconds: float
    per_token_ratio: float


@dataclass(frozen=True)
class BoundTiming:
    """Seconds of a scan and of its exponentials alone."""

    scan_seconds: float
    exponentials_seconds: float

    @property
    def ratio(self) -> float:
        """Time of the scan, divided by the lower bound."""
        return self.scan_seconds / self.exponentials_seconds


def scan_growth(repeats: int, quick: bool) -> list[LengthTiming]:
    """Time scans of growing length, forward and backward; if the growth is linear, all ratios are 1."""
    lengths = (64, 128) if quick else LENGTHS
    thunks = {str(length): setup_scan({**SCAN, "batch": 1, "width": 256, "length": length}) for length in lengths}
    timings = race(thunks, repeats, budget=60)
    per_token = {length: timings[str(length)].seconds / length for length in lengths}
    return [
        LengthTiming(length, timings[str(length)].seconds, per_token[length] / per_token[lengths[0]])
        for length in lengths
    ]


def distance_from_bound(repeats: int, quick: bool) -> BoundTiming:
    """Time the scan, and its exponentials alone, which every scan has to compute."""
    size = {**SCAN, "length": 64 if quick else 2048}
    timings = race({"scan": setup_scan(size), "exponentials": _setup_exponentials(size)}, repeats, budget=60)
    return BoundTiming(timings["scan"].seconds, timings["exponentials"].seconds)


@compiled((INT, INT, F2, INT))
def _exponentials(first: Any, last: Any, sums_RW: Any, rounds: Any) -> None:
    """For each task, `rounds` tiles of CHUNK x LANES exponentials, summed so that none can be optimized away."""
    for task in range(first, last):
        for r in range(rounds):
            shift = np.float32(r) * np.float32(-1e-3)
            for t in range(CHUNK):
                for w in range(LANES):
                    sums_RW[task, w] += exp2(shift - np.float32(t) * np.float32(0.01) * np.float32(w))


def _setup_exponentials(size: Size) -> Thunk:
    """One exponential per channel, step and state, twice: forward, and recomputed in the backward pass."""
    tasks = size["batch"] * -(-size["width"] // LANES)
    rounds = 2 * size["state"] * -(-size["length"] // CHUNK)
    sums_RW = np.zeros((tasks, LANES), np.float32)
    return lambda: parallel_for(lambda first, last: _exponentials(first, last, sums_RW, rounds), tasks)


def first_call_seconds() -> float:
    """Seconds of the first scan and convolution in a fresh process with an empty cache, where everything compiles."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        process = subprocess.run(
            [sys.executable, "-c", _FIRST_CALL], env=environment, capture_output=True, text=True, check=True
        )
    return float(process.stdout)
