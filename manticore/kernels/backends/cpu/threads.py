"""Hand tensors to numba as arrays, and share tasks among as many threads as torch would use.

Knows nothing of what a task does.

The threads are Python's: the work they call must free the interpreter lock, as the numba loops do. No OpenMP, so no
quarrel with torch's, and a forked child simply starts its own pool.
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

SHARES_PER_THREAD = 4


def array(x: Tensor, packed: bool = False) -> Any:
    """The tensor as numpy sees it, in single precision: its own memory where that can be, `packed` without strides."""
    x = x.detach().to(torch.float32)
    return (x.contiguous() if packed else x).numpy()


@lru_cache(maxsize=1)
def _pool(process: int, helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="manticore-scan")


def share(work: Callable[[int, int], None], tasks: int) -> None:
    """Call `work(first, last)` over consecutive ranges that together cover `tasks`, and return when all are done.

    Which thread takes a range is left to chance; what a task writes must not depend on it.
    """
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        work(0, tasks)
        return
    shares = min(tasks, threads * SHARES_PER_THREAD)
    bounds = [tasks * share // shares for share in range(shares + 1)]
    turns = count()

    def take_turns() -> None:
        while (turn := next(turns)) < shares:
            work(bounds[turn], bounds[turn + 1])

    pool = _pool(os.getpid(), torch.get_num_threads() - 1)
    helpers = [pool.submit(take_turns) for _ in range(threads - 1)]
    take_turns()
    for helper in helpers:
        helper.result()
