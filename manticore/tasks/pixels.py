"""Images as sequences: one token a pixel, row by row, its id the grey level. Knows no task.

There is no end-of-sequence token, nor any other besides the 256 levels: every image of a task has the same length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.base import Examples, Vocabulary

PIXELS = Vocabulary.plain(256)

Images = NDArray[np.uint8]


def pack(images: Images, labels: NDArray[np.integer]) -> Examples:
    """Examples from grey images (N, H, W) and their classes (N,)."""
    length = int(np.prod(images.shape[1:]))
    offsets = np.arange(len(images) + 1, dtype=np.int64) * length
    return Examples(np.ascontiguousarray(images).reshape(-1), offsets, labels.astype(np.int64))


def grey(images: Images) -> Images:
    """The luminance of RGB images (N, H, W, 3), 0.299 R + 0.587 G + 0.114 B, rounded: (N, H, W)."""
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)
    # In blocks, as the sums need four bytes a pixel.
    blocks = [(images[at : at + 4096] @ weights + 0x8000) >> 16 for at in range(0, len(images), 4096)]
    return np.concatenate(blocks).astype(np.uint8)


def halved(images: Images) -> Images:
    """Grey images (N, 2H, 2W) at half the size, (N, H, W): each pixel the rounded mean of four."""
    count, height, width = images.shape
    squares = images.reshape(count, height // 2, 2, width // 2, 2)
    means: Images = ((squares.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return means


def mean_pixel(examples: Examples) -> NDArray[np.int64]:
    """A cue: how bright each image is, in 64 steps."""
    sums = np.add.reduceat(examples.flat, examples.offsets[:-1], dtype=np.int64)
    return sums // (4 * examples.lengths)
