"""A paddle at every angle it can have, drawn once and looked up from then on. Knows nothing of contours or images.

A paddle is drawn at twice the size and reduced with a Lanczos filter; so is the *gap*, the paddle widened by a margin
on all sides, which says where nothing else may lie. Reduced pictures have 8 bits, as those of the first images had.
Angles are radians from the x axis towards larger y: the 360 whole degrees at which a contour may start, then one for
each pixel on the circle round a paddle's pivot, where the paddle may end.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import ceil, cos, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from manticore.tasks.lra.pathfinder.settings import Settings

SCALE = 2
"""Antialiasing: how much larger than the image things are drawn."""
DEGREES = 360

Picture = NDArray[np.uint8]
Whole = NDArray[np.int64]


class Paddles(NamedTuple):
    """Every paddle that an image may need, for one margin. `A` = 360 + C angles: whole degrees from -180, then circle.

    Attributes:
        line_ASS: brightness of a paddle that starts in the middle: with its tail if it is a first one, else its head.
        gap_ASS: occupancy of the same.
        end_A2: (y, x) from where a paddle starts to where it ends.
        pivot_A2: from the tail of a first paddle to its pivot; only the first 360 mean anything.
        step_A2: from the pivot of a paddle to that of the next one.
        circle_C2: from a pivot to the pixels where a paddle may end.
        turn_AC: how welcome a place on the circle is after a paddle at this angle.
        near_K2: offsets no longer than the margin.
        fit_F2: offsets from the tail of a first paddle that must be free, those of degree d from `fits[d]` on; where
            there are none no contour starts at that degree.
        fits: 361 places in `fit_F2`.
    """

    line_ASS: Picture
    gap_ASS: Picture
    end_A2: Whole
    pivot_A2: Whole
    step_A2: Whole
    circle_C2: Whole
    turn_AC: NDArray[np.float64]
    near_K2: Whole
    fit_F2: Whole
    fits: Whole


@lru_cache(maxsize=8)
def paddles(held: Settings, margin: int) -> Paddles:
    """The paddles of these settings and this margin."""
    circle = _circle(held.paddle + margin)
    around = np.arctan2(circle[:, 0], circle[:, 1])
    degrees = np.arange(-DEGREES // 2, DEGREES // 2) * pi / 180
    angles = np.concatenate([degrees, around])
    # A contour goes from tail to head; after its first paddle it is drawn from the head backwards.
    drawn = [*degrees, *map(_flipped, around)]
    lines, gaps = zip(*(_picture(held, margin, angle) for angle in drawn), strict=True)
    # A first paddle's pivot lies a margin behind its tail: rounded up on the way to the head and back.
    pivots = _moved(angles, held.paddle) + _moved(map(_flipped, angles), held.paddle + margin)
    turn = np.abs(angles[:, None] - around)
    turn = np.minimum(held.continuity * np.minimum(turn, 2 * pi - turn), pi / 2)
    fits = [_must_be_free(gap, held.paddle + margin) for gap in gaps[:DEGREES]]
    return Paddles(
        line_ASS=np.stack(lines),
        gap_ASS=np.stack(gaps),
        end_A2=_moved(drawn, held.paddle),
        pivot_A2=pivots,
        step_A2=_moved(angles, held.paddle + 2 * margin),
        circle_C2=circle,
        turn_AC=np.cos(turn) ** 2,
        near_K2=within(margin),
        fit_F2=np.concatenate(fits),
        fits=np.cumsum([0, *map(len, fits)], dtype=np.int64),
    )


def reduced(picture: Picture, size: int) -> Picture:
    """A square picture reduced to (size, size)."""
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def within(radius: float) -> Whole:
    """(K, 2) whole offsets no longer than `radius`."""
    side = np.arange(-int(radius), int(radius) + 1)
    y, x = np.meshgrid(side, side, indexing="ij")
    near = y**2 + x**2 <= radius**2
    return np.stack([y[near], x[near]], axis=1).astype(np.int64)


def _moved(angles: Iterable[float], distance: int) -> Whole:
    """(A, 2) steps of this length, rounded up to whole pixels."""
    held = np.array(list(angles))
    step = np.stack([np.sin(held), np.cos(held)], axis=1)
    return np.ceil(distance * step - 1e-9).astype(np.int64)


def _flipped(angle: float) -> float:
    return angle + pi if angle < 0 else angle - pi


def _circle(radius: int) -> Whole:
    """The pixels met when walking round a circle in steps of a pixel's length."""
    walked = np.arange(0, 2 * pi * radius) / radius
    points = np.floor(radius * np.stack([np.sin(walked), np.cos(walked)], axis=1))
    return np.unique(points.astype(np.int64), axis=0)


def _picture(held: Settings, margin: int, angle: float) -> tuple[Picture, Picture]:
    """A paddle and its gap, (S, S) each, the start in the middle."""
    reach = held.paddle + ceil(held.thickness) + margin
    middle, side = reach * SCALE, 2 * reach * SCALE + 1
    dy, dx = (ceil(held.paddle * SCALE * step - 1e-9) for step in (sin(angle), cos(angle)))
    canvas = Image.new("L", (side, side))
    width = round(held.thickness * SCALE)
    ImageDraw.Draw(canvas).line([(middle, middle), (middle + dx, middle + dy)], fill=255, width=width)
    line = np.asarray(canvas)
    return reduced(line, 2 * reach + 1), reduced(_widened(line, margin * SCALE), 2 * reach + 1)


def _widened(picture: Picture, radius: int) -> Picture:
    """Each pixel the brightest within `radius`."""
    side = len(picture)
    padded = np.pad(picture, radius)
    out = picture.copy()
    for dy, dx in within(radius) + radius:
        np.maximum(out, padded[dy : dy + side, dx : dx + side], out=out)
    return out


def _must_be_free(gap: Picture, radius: int) -> Whole:
    """Offsets from a tail at which nothing may lie: where the gap is full, one pixel further down and right.

    Empty for an angle no contour may start at: one whose offsets could all leave the image at a corner. (Shift, cut at
    `radius` and shunned angles are accidents of the reference generator, but they shape its images.)
    """
    offsets = np.argwhere(gap == 255) - len(gap) // 2 + 1
    offsets = offsets[(np.abs(offsets) <= radius).all(axis=1)]
    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    stays = all((offsets * corner >= 0).all(axis=1).any() for corner in corners)
    return np.asarray(offsets if stays else offsets[:0], dtype=np.int64)
