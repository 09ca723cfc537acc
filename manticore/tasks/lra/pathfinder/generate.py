"""Distinct Pathfinder images, which depend on the seed and not on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from random import Random

import numpy as np

from manticore.tasks.lra.pathfinder.draw import Drawing, draw
from manticore.tasks.lra.pathfinder.settings import DrawnImages, Settings
from manticore.utils.console import progress_bar
from manticore.utils.cores import available_cores

CHUNK = 32
"""Number of images that a thread draws at a time."""

MANY_IMAGES = 2_000
"""Smallest number of images for which a progress bar is shown."""


def generate(settings: Settings, count: int, seed: int = 0, workers: int = 0) -> DrawnImages:
    """`count` distinct images.

    Args:
        settings: settings that the images share.
        count: number of images.
        seed: image n is drawn from its own stream of random numbers, which seed and n determine.
        workers: number of threads; 0 means one for each core. The slow loops run without Python's global lock.
    """
    images = np.empty((count, settings.size, settings.size), np.uint8)
    out = DrawnImages(images, *np.empty((2, count), np.int64))
    seen: set[bytes] = set()
    title = f"drawing {settings.size}x{settings.size} Pathfinder images"
    with progress_bar(title, count, shown=count > MANY_IMAGES) as advance:
        for drawing in _drawings(settings, count, seed, workers or available_cores()):
            digest = blake2b(drawing.pixels.tobytes(), digest_size=16).digest()
            if digest in seen:
                continue
            index = len(seen)
            seen.add(digest)
            out.images[index], out.labels[index], out.margins[index] = drawing.pixels, drawing.label, drawing.margin
            advance(len(seen))
            if len(seen) == count:
                break
    return out


def draw_image(settings: Settings, seed: int, index: int) -> Drawing:
    """Image `index` of the endless sequence that `settings` and `seed` define."""
    # Python hashes a text seed (SHA-512), so the streams of neighbouring images and seeds are unrelated.
    return draw(settings, Random(f"pathfinder/{settings.size}/{settings.contour}/{seed}/{index}"))


def _drawings(settings: Settings, count: int, seed: int, threads: int) -> Iterator[Drawing]:
    """The endless sequence of images; its first `count` images are drawn ahead, in threads."""

    def chunk(start: int) -> list[Drawing]:
        return [draw_image(settings, seed, index) for index in range(start, min(start + CHUNK, count))]

    pool = ThreadPoolExecutor(threads)
    try:
        for drawings in pool.map(chunk, range(0, count, CHUNK)):
            yield from drawings
    finally:
        pool.shutdown(cancel_futures=True)
    while True:
        yield draw_image(settings, seed, count)
        count += 1
