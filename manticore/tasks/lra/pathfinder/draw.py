"""One Pathfinder image from one stream of random numbers. Knows no files and no other image."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.lra.pathfinder.grow import grow
from manticore.tasks.lra.pathfinder.paddles import SCALE, Paddles, paddles, reduced
from manticore.tasks.lra.pathfinder.settings import Settings

Point = tuple[int, int]
Contour = list[tuple[Point, Point]]


@dataclass(frozen=True)
class Drawing:
    """An image and how it came to be. A point is (y, x).

    Attributes:
        pixels: (R, R) grey, the darkest 0 and the brightest 255.
        label: 1 if the discs mark the two ends of one contour.
        margin: half the gap between paddles.
        contours: the two long ones, each its paddles' (tail, head).
        discs: where the two discs are.
    """

    pixels: NDArray[np.uint8]
    label: int
    margin: int
    contours: tuple[Contour, Contour]
    discs: tuple[Point, Point]


def draw(held: Settings, rng: Random) -> Drawing:
    """An image with these settings; equal streams make equal images."""
    label = int(rng.random() * 2)
    margin = held.margins[int(rng.random() * len(held.margins))]
    first = int(rng.random() * 2)
    state = np.array([rng.getrandbits(64)], dtype=np.uint64)
    kit = paddles(held, margin)
    # Heads lie in the image, pivots a margin off (and what rounding adds), their circles a paddle and a margin more.
    edge = held.paddle + 3 * margin + 4
    empty = np.pad(_border(held), edge)
    paths = np.empty((2, held.contour, 3), dtype=np.int64)
    contrasts = (held.contrast * held.fading, held.contrast)
    short = np.empty((held.distractors, held.distractor, 3), dtype=np.int64)
    light = grow(kit, empty, edge, held.seed_distance, contrasts, state, paths, short)
    one, two = (_contour(kit, path - (0, edge, edge)) for path in paths)
    discs = (one, two)[first][0][0], (one, two)[first if label else 1 - first][-1][1]
    picture = light[edge:-edge, edge:-edge]
    for place in discs:
        picture = np.maximum(picture, _disc(held, place))
    return Drawing(_to_bytes(picture), label, margin, (one, two), discs)


def _border(held: Settings) -> NDArray[np.uint8]:
    """What is taken before anything is drawn."""
    return np.pad(np.zeros((held.size - 2 * held.padding,) * 2, np.uint8), held.padding, constant_values=255)


def _contour(kit: Paddles, path: NDArray[np.int64]) -> Contour:
    """The tails and heads of a contour's paddles; all but the first start at their heads."""
    starts = [(y, x) for y, x in path[:, 1:].tolist()]
    ends = [(y, x) for y, x in (path[:, 1:] + kit.end_A2[path[:, 0]]).tolist()]
    return [(starts[0], ends[0]), *zip(ends[1:], starts[1:], strict=True)]


def _disc(held: Settings, place: Point) -> NDArray[np.float64]:
    side = np.arange(held.size * SCALE)
    y, x = side[:, None] - place[0] * SCALE, side - place[1] * SCALE
    large = np.where(y**2 + x**2 <= (held.marker_radius * SCALE) ** 2, 255, 0).astype(np.uint8)
    return reduced(large, held.size) / 255


def _to_bytes(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    scaled = (picture - picture.min()) * (255 / np.ptp(picture)) + 0.5
    return np.asarray(scaled, dtype=np.uint8)
