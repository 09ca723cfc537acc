"""How fast a selective scan could be at best on this CPU: its exponentials and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from manticore.bench.case import Size
from manticore.bench.timing import Thunk
from manticore.kernels.backends.cpu.threads import parallel_for
from manticore.kernels.backends.cpu.tiles import CHUNK, F2, INT, LANES, compiled, exp2


@compiled((INT, INT, F2, INT))
def exponentials(first: Any, last: Any, sums_RW: Any, rounds: Any) -> None:
    """For each task, `rounds` tiles of CHUNK x LANES exponentials, summed so that none can be left out."""
    for task in range(first, last):
        for r in range(rounds):
            shift = np.float32(r) * np.float32(-1e-3)
            for t in range(CHUNK):
                for w in range(LANES):
                    sums_RW[task, w] += exp2(shift - np.float32(t) * np.float32(0.01) * np.float32(w))


def lower_bound(size: Size) -> Thunk:
    """One exponential for every channel, step and state, twice over: forward, and recomputed for the backward pass."""
    tasks = size["batch"] * -(-size["width"] // LANES)
    rounds = 2 * size["state"] * -(-size["length"] // CHUNK)
    sums_RW = np.zeros((tasks, LANES), np.float32)
    return lambda: parallel_for(lambda first, last: exponentials(first, last, sums_RW, rounds), tasks)
