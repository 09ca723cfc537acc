"""Tensors as numpy arrays for numba, and tasks on as many threads as torch uses.

The threads are Python's, so the work must release the interpreter lock, as the numba loops do. OpenMP is not used: it
would conflict with torch's, while a forked child process simply starts a pool of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch import Tensor

RANGES_PER_THREAD = 4
"""Tasks are split into this many ranges for each thread, so that a slow thread delays the others little."""


def as_array(x: Tensor, packed: bool = False) -> Any:
    """The tensor as a numpy array in single precision: its own memory where possible; a contiguous copy if `packed`.

    Parameters are `packed`: torch could not free the memory of one that numpy has seen, as a sharded training does.
    """
    x = x.detach().to(torch.float32)
    return (x.clone(memory_format=torch.contiguous_format) if packed else x).numpy()


@lru_cache(maxsize=1)
def _pool(process: int, helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="manticore-scan")


def parallel_for(work: Callable[[int, int], None], tasks: int) -> None:
    """Call `work(first, last)` on consecutive ranges that cover `tasks`, and return when all are done.

    Threads take ranges in any order, so what a task writes must not depend on it.
    """
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        work(0, tasks)
        return
    ranges = min(tasks, threads * RANGES_PER_THREAD)
    bounds = [tasks * index // ranges for index in range(ranges + 1)]
    next_range = count()

    def run_ranges() -> None:
        while (index := next(next_range)) < ranges:
            work(bounds[index], bounds[index + 1])

    pool = _pool(os.getpid(), torch.get_num_threads() - 1)
    helpers = [pool.submit(run_ranges) for _ in range(threads - 1)]
    run_ranges()
    for helper in helpers:
        helper.result()
