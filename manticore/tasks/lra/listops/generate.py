"""Samples a given number of distinct ListOps expressions, in several processes if that is faster.

The result depends on the grammar, the number and the seed, not on the number of processes: chunk i of the endless
sequence of expressions has its own random stream, chunks are read in the order of i, and the first distinct expressions
are kept.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from manticore.errors import ManticoreError
from manticore.tasks.lra.listops.counts import population
from manticore.tasks.lra.listops.grammar import Grammar
from manticore.tasks.lra.listops.worker import Chunk, draw_chunk, request_line
from manticore.utils.console import progress_bar
from manticore.utils.cores import available_cores

PARALLEL_TOKENS = 20e6
"""Smallest number of tokens (about four seconds on one core) for which other processes are started."""

DRAWS_PER_EXPRESSION = 50
MIN_DRAWS = 500_000
"""The search for distinct expressions stops after `DRAWS_PER_EXPRESSION` draws for each, plus `MIN_DRAWS`."""


def generate(grammar: Grammar, total: int, seed: int = 0, workers: int = 0) -> Chunk:
    """`total` distinct expressions with their values, shuffled by `seed`.

    The reference collects distinct expressions in a Python set and splits it in the order of the set, which is a
    shuffle without a seed.

    Args:
        grammar: bounds of the expressions.
        total: number of expressions.
        seed: seed of the random streams.
        workers: number of processes; 0 means all cores, or this process alone for small data.

    Raises:
        ManticoreError: there are fewer expressions within the bounds, or they are too rare to be found.
    """
    counts = population(grammar)
    counts.check(total)
    small = counts.tokens_to_draw(total) < PARALLEL_TOKENS
    processes = workers or (1 if small else available_cores())
    values: dict[bytes, int] = {}
    drawn, max_draws = 0, DRAWS_PER_EXPRESSION * total + MIN_DRAWS
    with ExitStack() as stack:
        chunks = stack.enter_context(_chunks(grammar, seed, processes))
        advance = stack.enter_context(progress_bar("drawing ListOps expressions", total, shown=not small))
        for chunk in chunks:
            for codes, value in chunk:
                drawn += 1
                if codes not in values:
                    values[codes] = value
                    if len(values) == total:
                        break
            advance(len(values))
            if len(values) == total:
                break
            if drawn > max_draws or not chunk:
                raise ManticoreError(
                    f"{drawn} draws found only {len(values)} distinct ListOps expressions of the {total} requested, "
                    f"with lengths between {grammar.min_length} and {grammar.max_length} (exclusive); "
                    f"ask for fewer or widen the bounds"
                )
    expressions = list(values.items())
    random.Random(f"listops/{seed}/order").shuffle(expressions)
    return expressions


@contextmanager
def _chunks(grammar: Grammar, seed: int, processes: int) -> Iterator[Iterator[Chunk]]:
    """The endless sequence of chunks, in order. Workers draw ahead; they are stopped when the context ends."""
    if processes == 1:
        yield (draw_chunk(grammar, seed, index) for index in count())
        return
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    workers = [_start() for _ in range(processes)]
    for worker in workers:
        free.put(worker)

    def draw(index: int) -> Chunk:
        worker = free.get()
        try:
            return _request(worker, request_line(grammar, seed, index))
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(processes)
    try:
        yield _in_order(pool, draw, ahead=2 * processes)
    finally:
        for worker in workers:
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.communicate()


def _in_order(pool: ThreadPoolExecutor, draw: Callable[[int], Chunk], ahead: int) -> Iterator[Chunk]:
    pending: deque[Future[Chunk]] = deque()
    for index in count():
        pending.append(pool.submit(draw, index))
        if len(pending) > ahead:
            yield pending.popleft().result()


def _start() -> subprocess.Popen[bytes]:
    """A worker process, with this package and without the current folder on its import path."""
    package = Path(__file__).parents[4]
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "manticore.tasks.lra.listops.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _request(worker: subprocess.Popen[bytes], line: bytes) -> Chunk:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
        chunk: Chunk = pickle.load(worker.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise ManticoreError(f"a process drawing ListOps expressions ended early (status {worker.wait()})") from None
    return chunk
