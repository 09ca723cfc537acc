"""Draws a given number of distinct ListOps expressions, on all cores if it pays. Knows no splits and no files.

The result depends on the grammar, the count and the seed alone, never on the number of processes: chunk i of the
endless list of draws has its own random stream, chunks are consumed in the order of i, the first `count` distinct
expressions are kept, and what comes after is thrown away.
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
from manticore.tasks.lra.listops.worker import Chunk, draw_chunk, question
from manticore.utils.console import progress_bar

# Below this many tokens (about four seconds on one core) other processes are not worth starting.
TOKENS_WORTH_A_PROCESS = 20e6
# How many draws within the bounds are tried before the search for distinct ones is given up.
DRAWS_PER_EXPRESSION = 50
DRAWS_AT_LEAST = 500_000


def generate(grammar: Grammar, wanted: int, seed: int = 0, workers: int = 0) -> Chunk:
    """`wanted` distinct expressions with their values, shuffled by `seed`.

    The reference collects distinct expressions in a Python set and splits it in the set's own order, which is an
    unseeded shuffle; here the order is the seed's.

    Args:
        grammar: what may be drawn.
        wanted: number of expressions.
        seed: names the random streams.
        workers: number of processes; 0 means all cores, or none besides this one where the work is small.

    Raises:
        ManticoreError: there are not that many expressions within the bounds, or they are too rare to be found.
    """
    people = population(grammar)
    people.check(wanted)
    small = people.tokens_to_draw(wanted) < TOKENS_WORTH_A_PROCESS
    processes = workers or (1 if small else _cores())
    found: dict[bytes, int] = {}
    drawn, patience = 0, DRAWS_PER_EXPRESSION * wanted + DRAWS_AT_LEAST
    with ExitStack() as stack:
        chunks = stack.enter_context(_chunks(grammar, seed, processes))
        advance = stack.enter_context(progress_bar("drawing ListOps expressions", wanted, shown=not small))
        for chunk in chunks:
            for codes, value in chunk:
                drawn += 1
                if codes not in found:
                    found[codes] = value
                    if len(found) == wanted:
                        break
            advance(len(found))
            if len(found) == wanted:
                break
            if drawn > patience or not chunk:
                raise ManticoreError(
                    f"{drawn} draws found only {len(found)} distinct ListOps expressions of the {wanted} asked for, "
                    f"with lengths between {grammar.min_length} and {grammar.max_length} (exclusive); "
                    f"ask for fewer or widen the bounds"
                )
    shuffled = list(found.items())
    random.Random(f"listops/{seed}/order").shuffle(shuffled)
    return shuffled


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def _chunks(grammar: Grammar, seed: int, processes: int) -> Iterator[Iterator[Chunk]]:
    """The endless list of chunks, in order; those drawn ahead are dropped when the caller leaves."""
    if processes == 1:
        yield (draw_chunk(grammar, seed, index) for index in count())
        return
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    workers = [_start() for _ in range(processes)]
    for worker in workers:
        free.put(worker)

    def ask(index: int) -> Chunk:
        worker = free.get()
        try:
            return _ask(worker, question(grammar, seed, index))
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(processes)
    try:
        yield _in_order(pool, ask, ahead=2 * processes)
    finally:
        for worker in workers:
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.communicate()


def _in_order(pool: ThreadPoolExecutor, ask: Callable[[int], Chunk], ahead: int) -> Iterator[Chunk]:
    waiting: deque[Future[Chunk]] = deque()
    for index in count():
        waiting.append(pool.submit(ask, index))
        if len(waiting) > ahead:
            yield waiting.popleft().result()


def _start() -> subprocess.Popen[bytes]:
    """A worker process that finds this very package, and nothing in the current folder, on its path."""
    package = Path(__file__).parents[4]
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "manticore.tasks.lra.listops.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _ask(worker: subprocess.Popen[bytes], asked: bytes) -> Chunk:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(asked)
        worker.stdin.flush()
        answer: Chunk = pickle.load(worker.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise ManticoreError(f"a process drawing ListOps expressions ended early (status {worker.wait()})") from None
    return answer
