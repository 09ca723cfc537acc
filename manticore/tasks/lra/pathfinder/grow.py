"""The growth of Pathfinder's contours, compiled by numba.

A contour grows by one paddle (dash) at a time. Its pivot is one margin ahead of the head of the last paddle; the head
of the next paddle is on a circle of radius (paddle + margin) around the pivot. Pixel c of the circle is drawn with
probability

    p_c ~ cos^2(min(continuity * turn_c, pi / 2)) * (1 - occupancy_c / 255)

where turn_c is the change of direction and occupancy_c the greatest occupancy within one margin of the pixel. Occupied
are the border and the gaps around all paddles but the latest of each contour. If the gap of the new paddle collides
with them, another pixel is drawn, up to `PADDLE_TRIES` times. The two long contours grow in turns; both start again if
one is stuck.

Image arrays have `edge` extra pixels on each side, so that no stamp is cut. A paddle is a row (angle, y, x): its index
in `PaddleTables` and the pixel at the middle of its stamp, in coordinates that include the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np

PADDLE_TRIES = 3
CONTOUR_TRIES = 5
OCCUPIED = 76
"""Occupancy, of 255, above which a pixel cannot be part of a first paddle."""
COLLISION = 459
"""Two occupancies collide if their sum is at least this."""
FULL = 0.01
"""No short contour is started if fewer than this share of the pixels is free."""

_STEP, _MIX, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def compiled(function: Callable[..., Any]) -> Any:
    """njit without the global interpreter lock; the compiled code is cached on disk if the disk can be written to."""
    try:
        dispatcher = numba.njit(cache=True, nogil=True)(function)
    except (RuntimeError, OSError):
        return numba.njit(nogil=True)(function)
    save = dispatcher._cache.save_overload

    def save_if_there_is_room(*arguments: Any) -> None:  # numba saves when a function is first called
        with suppress(OSError):
            save(*arguments)

    dispatcher._cache.save_overload = save_if_there_is_room
    return dispatcher


@compiled
def random_below(state: Any, bound: Any) -> Any:
    """A random number in [0, bound): SplitMix64 (Steele et al. 2014), whose state is one word."""
    state[0] += _STEP
    z = state[0]
    z = (z ^ (z >> _30)) * _MIX
    z = (z ^ (z >> _27)) * _MIX2
    return ((z ^ (z >> _31)) >> _11) * 2.0**-53 * bound


@compiled
def mark_occupied(tables: Any, occupied: Any, edge: Any, paddle: Any) -> None:
    """Mark the gap of a paddle as occupied, inside the image."""
    gap = tables.gap_ASS[paddle[0]]
    side, inner = gap.shape[0], occupied.shape[0] - edge
    top, left = paddle[1] - side // 2, paddle[2] - side // 2
    for y in range(max(0, edge - top), min(side, inner - top)):
        for x in range(max(0, edge - left), min(side, inner - left)):
            occupied[top + y, left + x] = max(occupied[top + y, left + x], gap[y, x])


@compiled
def collides(tables: Any, occupied: Any, paddle: Any) -> Any:
    """Whether the gap of a paddle collides with what is occupied."""
    gap = tables.gap_ASS[paddle[0]]
    side = gap.shape[0]
    top, left = paddle[1] - side // 2, paddle[2] - side // 2
    for y in range(side):
        for x in range(side):
            if np.int64(occupied[top + y, left + x]) + gap[y, x] >= COLLISION:
                return True
    return False


@compiled
def paint_contour(tables: Any, light: Any, path: Any, contrast: Any) -> None:
    """Draw the paddles of a contour; each pixel becomes the maximum of image and paddle."""
    for n in range(len(path)):
        line = tables.line_ASS[path[n, 0]]
        side = line.shape[0]
        top, left = path[n, 1] - side // 2, path[n, 2] - side // 2
        for y in range(side):
            for x in range(side):
                light[top + y, left + x] = max(light[top + y, left + x], contrast * (line[y, x] / 255.0))


@compiled
def place_first(tables: Any, occupied: Any, edge: Any, degree: Any, y: Any, x: Any, paddle: Any, pivot: Any) -> Any:
    """Place a first paddle with its tail at (y, x); returns whether its head and pivot are inside the image."""
    inner = occupied.shape[0] - edge
    paddle[0], paddle[1], paddle[2] = degree, y, x
    pivot[0], pivot[1] = y + tables.pivot_A2[degree, 0], x + tables.pivot_A2[degree, 1]
    head_y, head_x = y + tables.end_A2[degree, 0], x + tables.end_A2[degree, 1]
    low, high = min(pivot[0], pivot[1], head_y, head_x), max(pivot[0], pivot[1], head_y, head_x)
    return low >= edge and high < inner


@compiled
def nth_zero(blocked: Any, n: Any) -> Any:
    """Flat index of the n-th pixel, from 0, that is not blocked."""
    for y in range(blocked.shape[0]):
        for x in range(blocked.shape[1]):
            n -= blocked[y, x] == 0
            if n < 0:
                return y * blocked.shape[1] + x
    return -1


@compiled
def place_anywhere(
    tables: Any, occupied: Any, edge: Any, border: Any, least: Any, state: Any, paddle: Any, pivot: Any
) -> Any:
    """Place a first paddle at a random free position; returns whether there is one.

    No pixel under the paddle may be occupied or within `border` pixels of the image's edge, and at least `least` pixels
    of the image must be free.
    """
    size = occupied.shape[0] - 2 * edge
    full = np.zeros_like(occupied)
    free = 0
    # full: pixels that a first paddle must not cover. Rows are separate arrays, so that the compiler vectorizes.
    for y in range(edge, edge + size):
        row, read = full[y, edge : edge + size], occupied[y, edge : edge + size]
        for x in range(size):
            row[x] = read[x] > OCCUPIED
            free += read[x] <= OCCUPIED
    if free < least:
        return False
    for near in range(edge, edge + border):
        far = 2 * edge + size - 1 - near
        for along in range(edge, edge + size):
            full[near, along] = full[far, along] = full[along, near] = full[along, far] = 1
    for _ in range(PADDLE_TRIES):
        degree = int(random_below(state, 360))
        if tables.fits[degree] == tables.fits[degree + 1]:
            return False
        # blocked: tail positions at which some offset of this degree's paddle would cover a full pixel.
        blocked = np.zeros((size, size), np.uint8)
        for f in range(tables.fits[degree], tables.fits[degree + 1]):
            dy, dx = edge + tables.fit_F2[f, 0], edge + tables.fit_F2[f, 1]
            for y in range(size):
                row, read = blocked[y], full[y + dy, dx : dx + size]
                for x in range(size):
                    row[x] |= read[x]
        count = size * size
        for y in range(size):
            for x in range(size):
                count -= blocked[y, x]
        if count == 0:
            return False
        pixel = nth_zero(blocked, int(random_below(state, count)))
        if place_first(tables, occupied, edge, degree, edge + pixel // size, edge + pixel % size, paddle, pivot):
            return True
    return False


@compiled
def place_near(
    tables: Any, occupied: Any, edge: Any, distance: Any, first: Any, state: Any, paddle: Any, pivot: Any
) -> Any:
    """Place a first paddle whose tail is `distance` from that of `first`, in a random direction.

    Returns whether it is inside the image.
    """
    for _ in range(PADDLE_TRIES):
        degree, angle = int(random_below(state, 360)), int(random_below(state, 360)) * np.pi / 180
        y = first[1] + int(np.rint(distance * np.sin(angle)))
        x = first[2] + int(np.rint(distance * np.cos(angle)))
        if place_first(tables, occupied, edge, degree, y, x, paddle, pivot):
            return True
    return False


@compiled
def extend_contour(tables: Any, occupied: Any, edge: Any, state: Any, last: Any, paddle: Any, pivot: Any) -> Any:
    """Place one more paddle after `last`, whose gap becomes occupied; returns whether there is one."""
    inner = occupied.shape[0] - edge
    # One margin ahead of the head of `last`
    pivot[0] += tables.step_A2[last[0], 0]
    pivot[1] += tables.step_A2[last[0], 1]
    count = len(tables.circle_C2)
    cumulative = np.zeros(count)  # sums of the unnormalized p_c of the module's formula
    total = 0.0
    for c in range(count):
        y, x = pivot[0] + tables.circle_C2[c, 0], pivot[1] + tables.circle_C2[c, 1]
        weight = tables.turn_AC[last[0], c]
        if weight > 0 and min(y, x) >= edge and max(y, x) < inner:
            # p_c ~ cos^2(turn_c) * (1 - occupancy_c / 255), with the greatest occupancy within one margin
            occupancy = 0
            for k in range(len(tables.near_K2)):
                occupancy = max(occupancy, occupied[y + tables.near_K2[k, 0], x + tables.near_K2[k, 1]])
            total += weight * (1.0 - occupancy / 255.0)
        cumulative[c] = total
    if total < 1e-4:
        return False
    for _ in range(PADDLE_TRIES):
        # Pixel c is drawn with probability p_c: the first one whose cumulative sum exceeds a uniform number.
        chosen = min(np.searchsorted(cumulative, random_below(state, total), side="right"), count - 1)
        paddle[0] = 360 + chosen
        paddle[1], paddle[2] = pivot[0] + tables.circle_C2[chosen, 0], pivot[1] + tables.circle_C2[chosen, 1]
        if not collides(tables, occupied, paddle):
            mark_occupied(tables, occupied, edge, last)
            return True
    return False


@compiled
def grow_long_contours(tables: Any, occupied: Any, edge: Any, distance: Any, state: Any, paths: Any) -> Any:
    """One attempt to grow both long contours into `paths` (2, N, 3); returns whether both are complete."""
    pivots = np.empty((2, 2), np.int64)
    if not place_anywhere(tables, occupied, edge, 2 * distance, 0.0, state, paths[0, 0], pivots[0]):
        return False
    if not place_near(tables, occupied, edge, distance, paths[0, 0], state, paths[1, 0], pivots[1]):
        return False
    for n in range(1, paths.shape[1]):
        for contour in range(2):
            if not extend_contour(
                tables, occupied, edge, state, paths[contour, n - 1], paths[contour, n], pivots[contour]
            ):
                return False
    # The gap of the first contour's last paddle stays unoccupied, as in the reference generator.
    mark_occupied(tables, occupied, edge, paths[1, -1])
    return True


@compiled
def grow_short_contour(tables: Any, occupied: Any, edge: Any, state: Any, path: Any) -> Any:
    """One attempt to grow a short contour into `path` (N, 3); returns whether it is complete."""
    pivot = np.empty(2, np.int64)
    if not place_anywhere(tables, occupied, edge, 1, FULL * (occupied.shape[0] - 2 * edge) ** 2, state, path[0], pivot):
        return False
    for n in range(1, len(path)):
        if not extend_contour(tables, occupied, edge, state, path[n - 1], path[n], pivot):
            return False
    mark_occupied(tables, occupied, edge, path[-1])
    return True


@compiled
def draw_contours(
    tables: Any, empty: Any, edge: Any, distance: Any, contrasts: Any, state: Any, paths: Any, short: Any
) -> Any:
    """Draw two long contours, and as many of the short ones as fit.

    Args:
        tables: a `PaddleTables`.
        empty: occupancy of the empty image.
        edge: see the module.
        distance: distance between the starts of the long contours.
        contrasts: brightness of long and of short contours.
        state: state of the random numbers.
        paths: output (2, N, 3): the long contours.
        short: work space (C, M, 3): C short contours are attempted, `CONTOUR_TRIES` times each.

    Returns: brightness, of the shape of `empty`.
    """
    occupied = empty.copy()
    # The long contours grow in turns, so both start again if one is stuck.
    while not grow_long_contours(tables, occupied, edge, distance, state, paths):
        occupied = empty.copy()
    light = np.zeros(empty.shape)
    for contour in range(2):
        paint_contour(tables, light, paths[contour], contrasts[0])
    for m in range(len(short)):
        for _ in range(CONTOUR_TRIES):
            before = occupied.copy()
            if grow_short_contour(tables, occupied, edge, state, short[m]):
                paint_contour(tables, light, short[m], contrasts[1])
                break
            occupied = before
    return light
