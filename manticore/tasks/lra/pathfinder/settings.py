"""The settings of Pathfinder images: sizes, lengths and brightness.

An image has two long dashed contours among short ones. A disc marks the start of a long contour; a second disc marks
the end of the same contour (label 1) or of the other long contour (label 0). The task is from Linsley et al., "Learning
long-range spatial dependencies with horizontal gated recurrent units" (arXiv 1805.08315); the settings below are those
that Tay et al., "Long Range Arena" (arXiv 2011.04006) report for their images. All lengths are in pixels of the final
image. A paddle is one dash of a contour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.errors import UnknownName

LEVELS = {"easy": "curv_baseline", "intermediate": "curv_contour_length_9", "hard": "curv_contour_length_14"}
"""Folder of the images, by level."""

PADDLES = {"easy": 6, "intermediate": 9, "hard": 14}
"""Paddles of a long contour, by level."""


@dataclass(frozen=True)
class Settings:
    """Settings that all images of one size and level share.

    Attributes:
        size: side of the square image.
        contour: paddles of each of the two long contours.
        padding: width of the empty border.
        seed_distance: distance between the starts of the two long contours.
        marker_radius: radius of the discs.
        paddle: length of a paddle.
        thickness: thickness of a paddle.
        margins: values of half the gap between paddles; one is drawn for each image.
        continuity: straightness of contours; they turn by less than 90 degrees / continuity at a paddle.
        clutter: approximate number of paddles in all short contours together.
        contrast: brightness of a short contour; a disc has 1.
        fading: brightness of a long contour divided by `contrast`.
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
        """Paddles of a short contour."""
        return self.contour // 3

    @property
    def distractors(self) -> int:
        """Number of short contours that are attempted."""
        return self.clutter // self.distractor


@dataclass(frozen=True)
class DrawnImages:
    """Images (N, R, R), their labels (N,), and half the gap between the paddles of each (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    margins: NDArray[np.int64]


def settings_of(size: int, level: str) -> Settings:
    """The settings of a size (32, 64, 128 or 256) and a level. Raises UnknownName."""
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
