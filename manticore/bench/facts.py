"""What `bench kernels` tells beside races: who runs what and why, the first call, growth with length, the bound."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

import torch

from manticore.bench.kernels import SCAN, our_scan
from manticore.bench.timing import race
from manticore.kernels.dispatch import BACKENDS, OPERATIONS, explain_choice

LENGTHS = (2048, 4096, 8192, 16384, 32768)

_FIRST_CALL = """
import time, torch
from manticore import kernels
x, A, B = torch.randn(1, 8, 8, requires_grad=True), -torch.ones(8, 4), torch.randn(1, 4, 8)
started = time.perf_counter()
kernels.causal_conv1d(kernels.selective_scan(x, x, A, B, B), torch.ones(8, 4)).sum().backward()
print(time.perf_counter() - started)
"""


def choices(device: str) -> list[dict[str, str]]:
    """For each operation every backend that has it, with why `auto` takes it or not for fp32 tensors on `device`."""
    x = {"x": torch.zeros(1, device=device)}
    return [
        {"operation": operation, "backend": backend, "why": why}
        for operation in OPERATIONS
        for backend, why in explain_choice(operation, x)
        if operation in BACKENDS[backend].operations
    ]


def first_call() -> float:
    """Seconds the first scan and convolution take where nothing was ever compiled: a fresh process, an empty cache."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        done = subprocess.run(
            [sys.executable, "-c", _FIRST_CALL], env=environment, capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def growth(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Seconds a token of scans of growing length, forward and backward, and their ratio to the shortest's."""
    lengths = (64, 128) if quick else LENGTHS
    sides = {str(length): our_scan({**SCAN, "batch": 1, "width": 256, "length": length}) for length in lengths}
    timings = race(sides, repeats, budget=60)
    each = {length: timings[str(length)].seconds / length for length in lengths}
    return [
        {"length": length, "seconds": timings[str(length)].seconds, "per_token_ratio": each[length] / each[lengths[0]]}
        for length in lengths
    ]


def distance_from_bound(repeats: int, quick: bool) -> dict[str, float]:
    """Seconds of the scan and of its exponentials alone, and how many times the one is the other."""
    from manticore.bench.bound import lower_bound

    size = {**SCAN, "length": 64 if quick else 2048}
    timings = race({"scan": our_scan(size), "exponentials": lower_bound(size)}, repeats, budget=60)
    scan, alone = timings["scan"].seconds, timings["exponentials"].seconds
    return {"scan_seconds": scan, "exponentials_seconds": alone, "times_the_bound": scan / alone}
