"""How Pathfinder's contours grow, in numba: the loops that are run millions of times. Knows no label and no file.

The next paddle of a contour starts at a pivot, a gap away from the last one; it ends on the circle round that pivot,
rather straight on than to a side, and keeps off what is taken: the border, and the gaps round all earlier paddles
except the latest of each contour. The two long contours grow in turns and start anew together when one is stuck.

Arrays of an image have an edge of `edge` pixels around it, so that no stamp has to be cut. A paddle is written
(angle, y, x), angle being its number in `Paddles` and the point where its stamp's middle goes, edge included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

PADDLE_TRIES = 3
CONTOUR_TRIES = 5
OCCUPIED = 76
"""Occupancy, of 255, above which a pixel cannot be part of a first paddle."""
COLLISION = 459
"""Sum of two occupancies from which on they collide."""
FULL = 0.01
"""Share of free pixels below which no short contour is begun."""

_STEP, _MIX, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def compiled(function: Callable[..., Any]) -> Any:
    """njit that frees the interpreter lock, and keeps its result on disk where the disk can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except (RuntimeError, OSError):
        return numba.njit(nogil=True)(function)


@compiled
def below(state: Any, bound: Any) -> Any:
    """A random number in [0, bound): SplitMix64 (Steele et al. 2014), `state` being its one word."""
    state[0] += _STEP
    z = state[0]
    z = (z ^ (z >> _30)) * _MIX
    z = (z ^ (z >> _27)) * _MIX2
    return ((z ^ (z >> _31)) >> _11) * 2.0**-53 * bound


@compiled
def occupy(kit: Any, taken: Any, edge: Any, paddle: Any) -> None:
    """Let nothing else come near a paddle. What lies outside the image is left alone."""
    gap = kit.gap_ASS[paddle[0]]
    side, inner = gap.shape[0], taken.shape[0] - edge
    top, left = paddle[1] - side // 2, paddle[2] - side // 2
    for y in range(max(0, edge - top), min(side, inner - top)):
        for x in range(max(0, edge - left), min(side, inner - left)):
            taken[top + y, left + x] = max(taken[top + y, left + x], gap[y, x])


@compiled
def collides(kit: Any, taken: Any, paddle: Any) -> Any:
    """Whether a paddle runs into what is taken."""
    gap = kit.gap_ASS[paddle[0]]
    side = gap.shape[0]
    top, left = paddle[1] - side // 2, paddle[2] - side // 2
    for y in range(side):
        for x in range(side):
            if np.int64(taken[top + y, left + x]) + gap[y, x] >= COLLISION:
                return True
    return False


@compiled
def paint(kit: Any, light: Any, path: Any, contrast: Any) -> None:
    """Lay a contour's paddles over the image where they are brighter."""
    for n in range(len(path)):
        line = kit.line_ASS[path[n, 0]]
        side = line.shape[0]
        top, left = path[n, 1] - side // 2, path[n, 2] - side // 2
        for y in range(side):
            for x in range(side):
                light[top + y, left + x] = max(light[top + y, left + x], contrast * (line[y, x] / 255.0))


@compiled
def begin(kit: Any, taken: Any, edge: Any, degree: Any, y: Any, x: Any, paddle: Any, pivot: Any) -> Any:
    """Put a first paddle here; returns whether its head and pivot lie in the image."""
    inner = taken.shape[0] - edge
    paddle[0], paddle[1], paddle[2] = degree, y, x
    pivot[0], pivot[1] = y + kit.pivot_A2[degree, 0], x + kit.pivot_A2[degree, 1]
    head_y, head_x = y + kit.end_A2[degree, 0], x + kit.end_A2[degree, 1]
    low, high = min(pivot[0], pivot[1], head_y, head_x), max(pivot[0], pivot[1], head_y, head_x)
    return low >= edge and high < inner


@compiled
def nth_zero(blocked: Any, n: Any) -> Any:
    """The number of the n-th pixel, from 0, that is not blocked."""
    for y in range(blocked.shape[0]):
        for x in range(blocked.shape[1]):
            n -= blocked[y, x] == 0
            if n < 0:
                return y * blocked.shape[1] + x
    return -1


@compiled
def seed(kit: Any, taken: Any, edge: Any, border: Any, least: Any, state: Any, paddle: Any, pivot: Any) -> Any:
    """A first paddle anywhere it fits, `border` pixels off the image's edge; returns whether there is one.

    No pixel under it may be taken, and no fewer than `least` of the image may be free.
    """
    size = taken.shape[0] - 2 * edge
    full = np.zeros_like(taken)
    free = 0
    # Rows as arrays of their own, counted from 0: else the compiler does not vectorize the inner loops.
    for y in range(edge, edge + size):
        row, read = full[y, edge : edge + size], taken[y, edge : edge + size]
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
        degree = int(below(state, 360))
        if kit.fits[degree] == kit.fits[degree + 1]:
            return False
        blocked = np.zeros((size, size), np.uint8)
        for f in range(kit.fits[degree], kit.fits[degree + 1]):
            dy, dx = edge + kit.fit_F2[f, 0], edge + kit.fit_F2[f, 1]
            for y in range(size):
                row, read = blocked[y], full[y + dy, dx : dx + size]
                for x in range(size):
                    row[x] |= read[x]
        places = size * size
        for y in range(size):
            for x in range(size):
                places -= blocked[y, x]
        if places == 0:
            return False
        place = nth_zero(blocked, int(below(state, places)))
        if begin(kit, taken, edge, degree, edge + place // size, edge + place % size, paddle, pivot):
            return True
    return False


@compiled
def beside(kit: Any, taken: Any, edge: Any, distance: Any, first: Any, state: Any, paddle: Any, pivot: Any) -> Any:
    """A first paddle whose tail is `distance` from that of `first`, anywhere round it; returns whether it is inside."""
    for _ in range(PADDLE_TRIES):
        degree, angle = int(below(state, 360)), int(below(state, 360)) * np.pi / 180
        y = first[1] + int(np.rint(distance * np.sin(angle)))
        x = first[2] + int(np.rint(distance * np.cos(angle)))
        if begin(kit, taken, edge, degree, y, x, paddle, pivot):
            return True
    return False


@compiled
def extend(kit: Any, taken: Any, edge: Any, state: Any, last: Any, paddle: Any, pivot: Any) -> Any:
    """One more paddle after `last`, round whose gap nothing may come from then on; returns whether there is one."""
    inner = taken.shape[0] - edge
    pivot[0] += kit.step_A2[last[0], 0]
    pivot[1] += kit.step_A2[last[0], 1]
    places = len(kit.circle_C2)
    chances = np.zeros(places)
    total = 0.0
    for c in range(places):
        y, x = pivot[0] + kit.circle_C2[c, 0], pivot[1] + kit.circle_C2[c, 1]
        welcome = kit.turn_AC[last[0], c]
        if welcome > 0 and min(y, x) >= edge and max(y, x) < inner:
            crowded = 0
            for k in range(len(kit.near_K2)):
                crowded = max(crowded, taken[y + kit.near_K2[k, 0], x + kit.near_K2[k, 1]])
            total += welcome * (1.0 - crowded / 255.0)
        chances[c] = total
    if total < 1e-4:
        return False
    for _ in range(PADDLE_TRIES):
        chosen = min(np.searchsorted(chances, below(state, total), side="right"), places - 1)
        paddle[0] = 360 + chosen
        paddle[1], paddle[2] = pivot[0] + kit.circle_C2[chosen, 0], pivot[1] + kit.circle_C2[chosen, 1]
        if not collides(kit, taken, paddle):
            occupy(kit, taken, edge, last)
            return True
    return False


@compiled
def long_contours(kit: Any, taken: Any, edge: Any, distance: Any, state: Any, paths: Any) -> Any:
    """Try once to grow the two long contours into `paths` (2, N, 3); returns whether both got to their ends."""
    pivots = np.empty((2, 2), np.int64)
    if not seed(kit, taken, edge, 2 * distance, 0.0, state, paths[0, 0], pivots[0]):
        return False
    if not beside(kit, taken, edge, distance, paths[0, 0], state, paths[1, 0], pivots[1]):
        return False
    for n in range(1, paths.shape[1]):
        for which in range(2):
            if not extend(kit, taken, edge, state, paths[which, n - 1], paths[which, n], pivots[which]):
                return False
    # The last paddle of the first contour stays open to others: so it is in the reference generator.
    occupy(kit, taken, edge, paths[1, -1])
    return True


@compiled
def short_contour(kit: Any, taken: Any, edge: Any, state: Any, path: Any) -> Any:
    """Try once to grow a short contour into `path` (N, 3); returns whether it got to its end."""
    pivot = np.empty(2, np.int64)
    if not seed(kit, taken, edge, 1, FULL * (taken.shape[0] - 2 * edge) ** 2, state, path[0], pivot):
        return False
    for n in range(1, len(path)):
        if not extend(kit, taken, edge, state, path[n - 1], path[n], pivot):
            return False
    occupy(kit, taken, edge, path[-1])
    return True


@compiled
def grow(kit: Any, empty: Any, edge: Any, distance: Any, contrasts: Any, state: Any, paths: Any, short: Any) -> Any:
    """Fill an image with two long contours and as many short ones as find room.

    Args:
        kit: the `Paddles`.
        empty: what is taken before anything is drawn.
        edge: see the module.
        distance: between the starts of the long contours.
        contrasts: of long and of short contours.
        state: of the random numbers.
        paths: (2, N, 3) is filled with the long contours.
        short: (M, 3) for each short contour to try.

    Returns: brightness, the shape of `empty`.
    """
    taken = empty.copy()
    while not long_contours(kit, taken, edge, distance, state, paths):
        taken = empty.copy()
    light = np.zeros(empty.shape)
    for which in range(2):
        paint(kit, light, paths[which], contrasts[0])
    for m in range(len(short)):
        for _ in range(CONTOUR_TRIES):
            before = taken.copy()
            if short_contour(kit, taken, edge, state, short[m]):
                paint(kit, light, short[m], contrasts[1])
                break
            taken = before
    return light
