"""One Pathfinder image from one stream of random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.lra.pathfinder.grow import draw_contours
from manticore.tasks.lra.pathfinder.paddles import SCALE, PaddleTables, build_tables, downscale
from manticore.tasks.lra.pathfinder.settings import Settings

Point = tuple[int, int]
Contour = list[tuple[Point, Point]]


@dataclass(frozen=True)
class Drawing:
    """An image and what it shows. A point is (y, x).

    Attributes:
        pixels: (R, R) grey levels from 0 to 255.
        label: 1 if the discs mark the two ends of one contour, else 0.
        margin: half the gap between paddles.
        contours: the two long contours, each a list of the (tail, head) of its paddles.
        discs: centres of the two discs.
    """

    pixels: NDArray[np.uint8]
    label: int
    margin: int
    contours: tuple[Contour, Contour]
    discs: tuple[Point, Point]


def draw(settings: Settings, rng: Random) -> Drawing:
    """An image with these settings; equal streams give equal images."""
    label = int(rng.random() * 2)
    margin = settings.margins[int(rng.random() * len(settings.margins))]
    first = int(rng.random() * 2)
    state = np.array([rng.getrandbits(64)], dtype=np.uint64)
    tables = build_tables(settings, margin)
    # Heads are inside the image; pivots are up to a margin (and rounding) outside, their circles a paddle and a margin
    # further.
    edge = settings.paddle + 3 * margin + 4
    empty = np.pad(_border(settings), edge)
    paths = np.empty((2, settings.contour, 3), dtype=np.int64)
    contrasts = (settings.contrast * settings.fading, settings.contrast)
    short = np.empty((settings.distractors, settings.distractor, 3), dtype=np.int64)
    light = draw_contours(tables, empty, edge, settings.seed_distance, contrasts, state, paths, short)
    a, b = (_contour(tables, path - (0, edge, edge)) for path in paths)
    discs = (a, b)[first][0][0], (a, b)[first if label else 1 - first][-1][1]
    image = light[edge:-edge, edge:-edge]
    for center in discs:
        image = np.maximum(image, _disc(settings, center))
    return Drawing(_to_bytes(image), label, margin, (a, b), discs)


def _border(settings: Settings) -> NDArray[np.uint8]:
    """Occupancy of the empty image: only its border is occupied."""
    return np.pad(
        np.zeros((settings.size - 2 * settings.padding,) * 2, np.uint8), settings.padding, constant_values=255
    )


def _contour(tables: PaddleTables, path: NDArray[np.int64]) -> Contour:
    """Tail and head of each paddle. The stamp of the first paddle starts at its tail, all others at their head."""
    starts = [(y, x) for y, x in path[:, 1:].tolist()]
    ends = [(y, x) for y, x in (path[:, 1:] + tables.end_A2[path[:, 0]]).tolist()]
    return [(starts[0], ends[0]), *zip(ends[1:], starts[1:], strict=True)]


def _disc(settings: Settings, center: Point) -> NDArray[np.float64]:
    side = np.arange(settings.size * SCALE)
    y, x = side[:, None] - center[0] * SCALE, side - center[1] * SCALE
    large = np.where(y**2 + x**2 <= (settings.marker_radius * SCALE) ** 2, 255, 0).astype(np.uint8)
    return downscale(large, settings.size) / 255


def _to_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Scale the brightness to 0..255 and round."""
    scaled = (image - image.min()) * (255 / np.ptp(image)) + 0.5
    return np.asarray(scaled, dtype=np.uint8)
