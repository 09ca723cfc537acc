"""Draws ListOps expressions chunk by chunk, here or as a process of its own. Knows nothing of who asks.

As a process (`python -m manticore.tasks.lra.listops.worker`) it reads one chunk's coordinates a line from standard
input and answers each with a pickle. A plain child process rather than `multiprocessing`: nothing is forked from a
process that holds torch's threads, the user's script is not imported a second time, and start-up costs no heavy import.
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
    """Chunk `index` of the endless list that (`grammar`, `seed`) stands for: expressions with their values.

    At most `KEPT_PER_CHUNK`, fewer if `TREES_PER_CHUNK` trees did not hold as many within the bounds.
    """
    kept: Chunk = []
    # Seeding with text hashes all of it (SHA-512), so neighbouring chunks and seeds share nothing.
    for tree, codes in enumerate(draws(random.Random(f"listops/{seed}/{index}"), grammar), start=1):
        if codes is not None:
            kept.append((codes, evaluate(codes)))
        if len(kept) == KEPT_PER_CHUNK or tree == TREES_PER_CHUNK:
            break
    return kept


def question(grammar: Grammar, seed: int, index: int) -> bytes:
    """The line that asks a worker process for a chunk."""
    return (json.dumps({"grammar": asdict(grammar), "seed": seed, "index": index}) + "\n").encode()


def main() -> None:
    """Answer the questions on standard input until it closes."""
    try:
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            chunk = draw_chunk(Grammar(**asked["grammar"]), asked["seed"], asked["index"])
            pickle.dump(chunk, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        # Whoever asked is gone or is being stopped, and says so itself.
        sys.exit(1)


if __name__ == "__main__":
    main()
