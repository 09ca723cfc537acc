"""The settings of Pathfinder: how large, how long, how bright. Draws nothing.

Two long dashed contours wander through short ones; one disc marks the start of a contour, another the end of the same
contour (label 1) or of the other one (label 0). The task is from Linsley et al., "Learning long-range spatial
dependencies with horizontal gated recurrent units" (arXiv 1805.08315); the settings below are those Tay et al., "Long
Range Arena" (arXiv 2011.04006) state for their images. All lengths are in pixels of the finished image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.errors import UnknownName

LEVELS = {"easy": "curv_baseline", "intermediate": "curv_contour_length_9", "hard": "curv_contour_length_14"}
"""Name of a level to the folder its images are in."""

PADDLES = {"easy": 6, "intermediate": 9, "hard": 14}
"""Paddles in a long contour."""


@dataclass(frozen=True)
class Settings:
    """What the images of one size and level have in common.

    Attributes:
        size: side of the square image.
        contour: paddles in each of the two long contours.
        padding: width of the border that stays free.
        seed_distance: from the start of one long contour to the start of the other.
        marker_radius: of the discs.
        paddle: length of a paddle.
        thickness: of a paddle.
        margins: half the gap between paddles; drawn anew for each image.
        continuity: how straight contours are; turns of 90 degrees divided by this, or more, never happen.
        clutter: paddles in all short contours together, about.
        contrast: brightness of a short contour, where a disc has 1.
        fading: brightness of a long contour as a share of `contrast`.
    """

    size: int
    contour: int
    padding: int = 1
    seed_distance: int = 27
    marker_radius: float = 5
    paddle: int = 5
    thickness: float = 2
    margins: tuple[int, ...] = (3,)
    continuity: float = 1.8
    clutter: int = 30
    contrast: float = 1.0
    fading: float = 1.0

    @property
    def distractor(self) -> int:
        """Paddles in a short contour."""
        return self.contour // 3

    @property
    def distractors(self) -> int:
        """How many short contours are tried."""
        return self.clutter // self.distractor


@dataclass(frozen=True)
class Drawn:
    """Images (N, R, R), their labels (N,), and half the gap between paddles in each (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    margins: NDArray[np.int64]


def settings(size: int, level: str) -> Settings:
    """The settings of a size (32, 64, 128 or 256) and level. Raises UnknownName."""
    if level not in LEVELS:
        raise UnknownName("Pathfinder level", level, LEVELS)
    contour = PADDLES[level]
    sizes = {
        32: Settings(32, contour, 1, 7, 1.5, 2, 0.5, (1,), 1.0, 20, contrast=2.0, fading=0.75),
        64: Settings(64, contour, 1, 12, 2.5, 5, 1, (1,), 1.8, 22, contrast=0.8),
        128: Settings(128, contour, 1, 20, 3, 5, 1.5, (2, 3), 1.8, 35, contrast=0.9),
        256: Settings(256, contour, 22, 27, 5, 5, 2, (3,), 1.8, 30),
    }
    if size not in sizes:
        raise UnknownName("Pathfinder size", size, map(str, sizes))
    return sizes[size]
