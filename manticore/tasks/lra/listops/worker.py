"""Samples ListOps expressions in chunks, in this process or in a worker process.

As a process (`python -m manticore.tasks.lra.listops.worker`) it reads requests from standard input, one line for each
chunk, and writes each chunk to standard output as a pickle. It is a plain child process, not one of `multiprocessing`:
nothing is forked from a process with torch's threads, the user's script is not imported again, and it imports nothing
heavy.
"""

from __future__ import annotations

import json
import pickle
import random
import sys
from dataclasses import asdict

from manticore.tasks.lra.listops.grammar import Grammar, draws, evaluate

KEPT_PER_CHUNK = 250
TREES_PER_CHUNK = 2_000_000

Chunk = list[tuple[bytes, int]]


def draw_chunk(grammar: Grammar, seed: int, index: int) -> Chunk:
    """Chunk `index` of the endless sequence of expressions, with values, that `grammar` and `seed` define.

    It has `KEPT_PER_CHUNK` expressions, or fewer if fewer of `TREES_PER_CHUNK` trees are within the bounds.
    """
    kept: Chunk = []
    # Python hashes a text seed (SHA-512), so the streams of neighbouring chunks and seeds are unrelated.
    for tree, codes in enumerate(draws(random.Random(f"listops/{seed}/{index}"), grammar), start=1):
        if codes is not None:
            kept.append((codes, evaluate(codes)))
        if len(kept) == KEPT_PER_CHUNK or tree == TREES_PER_CHUNK:
            break
    return kept


def request_line(grammar: Grammar, seed: int, index: int) -> bytes:
    """The line that requests a chunk from a worker process."""
    return (json.dumps({"grammar": asdict(grammar), "seed": seed, "index": index}) + "\n").encode()


def main() -> None:
    """Answer the requests on standard input until it closes."""
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            chunk = draw_chunk(Grammar(**request["grammar"]), request["seed"], request["index"])
            pickle.dump(chunk, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        # The parent process has ended or is being stopped, and reports it.
        sys.exit(1)


if __name__ == "__main__":
    main()
