"""Many distinct Pathfinder images, the same for the same seed however many threads draw them. Knows no files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from random import Random

import numpy as np

from manticore.tasks.lra.pathfinder.draw import Drawing, draw
from manticore.tasks.lra.pathfinder.settings import Drawn, Settings
from manticore.utils.console import progress_bar

CHUNK = 32
MANY = 2_000
"""From this many images on a progress bar is shown."""


def generate(held: Settings, wanted: int, seed: int = 0, workers: int = 0) -> Drawn:
    """`wanted` images, no two alike.

    Args:
        held: what they have in common.
        wanted: how many.
        seed: image n is drawn from a stream of random numbers of its own, named by seed and n.
        workers: number of threads; 0 means one for each core. The slow loops run outside Python's lock.
    """
    out = Drawn(np.empty((wanted, held.size, held.size), np.uint8), *np.empty((2, wanted), np.int64))
    kept: set[bytes] = set()
    with progress_bar(f"drawing {held.size}x{held.size} Pathfinder images", wanted, shown=wanted > MANY) as advance:
        for drawing in _drawings(held, wanted, seed, workers or _cores()):
            digest = blake2b(drawing.pixels.tobytes(), digest_size=16).digest()
            if digest in kept:
                continue
            at = len(kept)
            kept.add(digest)
            out.images[at], out.labels[at], out.margins[at] = drawing.pixels, drawing.label, drawing.margin
            advance(len(kept))
            if len(kept) == wanted:
                break
    return out


def drawing(held: Settings, seed: int, index: int) -> Drawing:
    """Image `index` of the endless list that (`held`, `seed`) stands for."""
    # Seeding with text hashes all of it, so neighbouring images and seeds share nothing.
    return draw(held, Random(f"pathfinder/{held.size}/{held.contour}/{seed}/{index}"))


def _drawings(held: Settings, wanted: int, seed: int, threads: int) -> Iterator[Drawing]:
    """The endless list; its first `wanted` images are drawn ahead."""

    def chunk(start: int) -> list[Drawing]:
        return [drawing(held, seed, index) for index in range(start, min(start + CHUNK, wanted))]

    pool = ThreadPoolExecutor(threads)
    try:
        for drawn in pool.map(chunk, range(0, wanted, CHUNK)):
            yield from drawn
    finally:
        pool.shutdown(cancel_futures=True)
    while True:
        yield drawing(held, seed, wanted)
        wanted += 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
