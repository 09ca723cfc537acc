"""Stamps of a paddle at every possible angle, drawn once and then looked up.

A paddle is drawn at twice its size and downscaled with a Lanczos filter. Its gap is the paddle dilated by the margin,
the area that no other paddle may enter. Downscaled stamps have 8 bits, as in the reference generator. Angles are in
radians from the x axis towards larger y: the 360 whole degrees at which a contour may start, then one for each pixel of
the circle around a paddle's pivot, where the paddle may end.
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
"""Factor by which paddles and discs are drawn larger than in the image, for antialiasing."""
DEGREES = 360

GreyImage = NDArray[np.uint8]
Ints = NDArray[np.int64]


class PaddleTables(NamedTuple):
    """Lookup tables of all paddles with one margin, for A = 360 + C angles: whole degrees from -180, then the circle.

    The first paddle of a contour has its tail in the middle of the stamp; later ones have their head there. All offsets
    are (y, x).

    Attributes:
        line_ASS: brightness of the stamp.
        gap_ASS: occupancy of the stamp: the dilated paddle.
        end_A2: offset from the middle of the stamp to the other end of the paddle.
        pivot_A2: offset from the tail of a first paddle to its pivot; only the first 360 rows are used.
        step_A2: offset from the pivot of a paddle to the pivot of the next one.
        circle_C2: offsets from a pivot to the pixels where a paddle may end.
        turn_AC: weight of a pixel of the circle after a paddle at this angle: cos^2 of the scaled turn.
        near_K2: offsets no longer than the margin.
        fit_F2: offsets from the tail of a first paddle that must be free, those of degree d from `fits[d]` on. A degree
            without offsets starts no contour.
        fits: 361 indices into `fit_F2`.
    """

    line_ASS: GreyImage
    gap_ASS: GreyImage
    end_A2: Ints
    pivot_A2: Ints
    step_A2: Ints
    circle_C2: Ints
    turn_AC: NDArray[np.float64]
    near_K2: Ints
    fit_F2: Ints
    fits: Ints


@lru_cache(maxsize=8)
def build_tables(settings: Settings, margin: int) -> PaddleTables:
    """The lookup tables for these settings and this margin."""
    circle = _circle(settings.paddle + margin)
    around = np.arctan2(circle[:, 0], circle[:, 1])
    degrees = np.arange(-DEGREES // 2, DEGREES // 2) * pi / 180
    angles = np.concatenate([degrees, around])
    # A contour goes from tail to head. Later paddles are placed by their head, so that they are drawn backwards.
    drawn = [*degrees, *map(_opposite, around)]
    lines, gaps = zip(*(_draw_paddle(settings, margin, angle) for angle in drawn), strict=True)
    # The pivot of a first paddle is one margin behind its tail; both steps, to the head and back, are rounded up.
    pivots = _steps(angles, settings.paddle) + _steps(map(_opposite, angles), settings.paddle + margin)
    # Weight of a turn t: cos^2(min(continuity * t, pi / 2)), zero from 90 degrees / continuity on.
    turn = np.abs(angles[:, None] - around)
    turn = np.minimum(settings.continuity * np.minimum(turn, 2 * pi - turn), pi / 2)
    fits = [_free_offsets(gap, settings.paddle + margin) for gap in gaps[:DEGREES]]
    return PaddleTables(
        line_ASS=np.stack(lines),
        gap_ASS=np.stack(gaps),
        end_A2=_steps(drawn, settings.paddle),
        pivot_A2=pivots,
        step_A2=_steps(angles, settings.paddle + 2 * margin),
        circle_C2=circle,
        turn_AC=np.cos(turn) ** 2,
        near_K2=disc_offsets(margin),
        fit_F2=np.concatenate(fits),
        fits=np.cumsum([0, *map(len, fits)], dtype=np.int64),
    )


def downscale(image: GreyImage, size: int) -> GreyImage:
    """A square image at (size, size)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def disc_offsets(radius: float) -> Ints:
    """(K, 2) integer offsets no longer than `radius`."""
    side = np.arange(-int(radius), int(radius) + 1)
    y, x = np.meshgrid(side, side, indexing="ij")
    near = y**2 + x**2 <= radius**2
    return np.stack([y[near], x[near]], axis=1).astype(np.int64)


def _steps(angles: Iterable[float], distance: int) -> Ints:
    """(A, 2) offsets of length `distance` at these angles, rounded up to whole pixels."""
    angle_A = np.array(list(angles))
    step = np.stack([np.sin(angle_A), np.cos(angle_A)], axis=1)
    return np.ceil(distance * step - 1e-9).astype(np.int64)


def _opposite(angle: float) -> float:
    return angle + pi if angle < 0 else angle - pi


def _circle(radius: int) -> Ints:
    """(C, 2) the distinct pixels of a circle that is sampled in steps of one pixel."""
    angle = np.arange(0, 2 * pi * radius) / radius
    points = np.floor(radius * np.stack([np.sin(angle), np.cos(angle)], axis=1))
    return np.unique(points.astype(np.int64), axis=0)


def _draw_paddle(settings: Settings, margin: int, angle: float) -> tuple[GreyImage, GreyImage]:
    """The stamps of a paddle and of its gap, (S, S) each."""
    reach = settings.paddle + ceil(settings.thickness) + margin
    middle, side = reach * SCALE, 2 * reach * SCALE + 1
    dy, dx = (ceil(settings.paddle * SCALE * step - 1e-9) for step in (sin(angle), cos(angle)))
    canvas = Image.new("L", (side, side))
    width = round(settings.thickness * SCALE)
    ImageDraw.Draw(canvas).line([(middle, middle), (middle + dx, middle + dy)], fill=255, width=width)
    line = np.asarray(canvas)
    return downscale(line, 2 * reach + 1), downscale(_dilate(line, margin * SCALE), 2 * reach + 1)


def _dilate(image: GreyImage, radius: int) -> GreyImage:
    """The maximum of each pixel's neighbourhood of this radius."""
    side = len(image)
    padded = np.pad(image, radius)
    out = image.copy()
    for dy, dx in disc_offsets(radius) + radius:
        np.maximum(out, padded[dy : dy + side, dx : dx + side], out=out)
    return out


def _free_offsets(gap: GreyImage, radius: int) -> Ints:
    """(F, 2) offsets from a tail that must be free: where the gap is full, shifted by one pixel down and right.

    Empty for an angle at which no contour starts: one whose offsets could all leave the image at a corner. (The shift,
    the cut at `radius` and the excluded angles are accidents of the reference generator that affect its images.)
    """
    offsets = np.argwhere(gap == 255) - len(gap) // 2 + 1
    offsets = offsets[(np.abs(offsets) <= radius).all(axis=1)]
    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    stays = all((offsets * corner >= 0).all(axis=1).any() for corner in corners)
    return np.asarray(offsets if stays else offsets[:0], dtype=np.int64)
