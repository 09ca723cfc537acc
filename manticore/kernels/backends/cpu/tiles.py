"""Shared parts of the numba loops: compiler settings, vectorizable functions, and copies of tiles from and to arrays.

A tile is CHUNK steps by LANES channels in single precision, small enough for the first-level cache. Importing this file
compiles it, or loads it from numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.compiler import CompilerBase, DefaultPassBuilder

LANES = 32
CHUNK = 64

# LLVM's fast-math flags: fused multiply-add and no signed zeros; REORDER also lets it vectorize sums.
EXACT = {"contract", "nsz"}
REORDER = {"contract", "nsz", "reassoc"}
LOG2_E = np.float32(1.4426950408889634)
_MAGIC = np.float32(12582912.0)  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits
_ONE_BITS = np.int32(0x3F800000)

F1, F2, F3 = numba.float32[::1], numba.float32[:, ::1], numba.float32[:, :, ::1]
F4, F5 = numba.float32[:, :, :, ::1], numba.float32[:, :, :, :, ::1]
ANY3 = numba.types.Array(numba.float32, 3, "A")
INT, BOOL = numba.int64, numba.boolean

_THIS_FILE = blake2s(Path(__file__).read_bytes(), digest_size=4).hexdigest()


def _define_pipelines(self: Any) -> list[Any]:
    self.state.flags.noalias = True
    return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


_NoAlias: Any = type("_NoAlias", (CompilerBase,), {"define_pipelines": _define_pipelines})
"""numba's default pipeline, with array arguments assumed not to overlap: otherwise LLVM does not vectorize."""


def compiled(*signature: Any, fastmath: set[str] = EXACT) -> Callable[[Any], Any]:
    """`numba.njit` that releases the interpreter lock, and caches machine code on disk where that is writable.

    numba names a cached function by its `__qualname__`, and compiles it again when the file of the function changes.
    Functions of this file are inlined into functions of others, so the name contains this file's digest.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    options |= {"fastmath": fastmath, "pipeline_class": _NoAlias}

    def decorate(function: Any) -> Any:
        function.__qualname__ += f"_{_THIS_FILE}"
        try:
            return numba.njit(*signature, cache=True, **options)(function)
        except (RuntimeError, OSError):
            return numba.njit(*signature, **options)(function)

    return decorate


@compiled()
def exp2(x: Any) -> Any:
    """2**x with a relative error below 1e-7; exactly 0 below 2**-126, infinite from 2**128.

    With n the integer nearest to x and r = x - n in [-1/2, 1/2]: 2**x = 2**n p(r), where p is a polynomial of degree 6
    and 2**n is written into the exponent bits.
    """
    x = min(max(x, np.float32(-127.0)), np.float32(128.0))
    shifted = x + _MAGIC
    r = x - (shifted - _MAGIC)
    p = np.float32(1.5353362e-4)
    p = p * r + np.float32(1.33988746e-3)
    p = p * r + np.float32(9.6184374e-3)
    p = p * r + np.float32(5.55033247e-2)
    p = p * r + np.float32(2.40226479e-1)
    p = p * r + np.float32(6.93147203e-1)
    p = p * r + np.float32(1.0)
    power = np.int32((np.float32(shifted).view(np.int32) << np.int32(23)) + _ONE_BITS)
    return p * np.int32(power).view(np.float32)


@compiled()
def sigmoid(x: Any) -> Any:
    return np.float32(1.0) / (np.float32(1.0) + exp2(-x * LOG2_E))


@compiled()
def softplus(x: Any) -> Any:
    """log(1 + e**x) = max(x, 0) + log(1 + e) with e = e**-|x|.

    log(1 + e) = 2 atanh(s) with s = e / (e + 2) <= 1/3, by its series 2 (s + s**3 / 3 + s**5 / 5 + ...).
    """
    e = exp2(-abs(x) * LOG2_E)
    s = e / (e + np.float32(2.0))
    q = s * s
    p = np.float32(2.0 / 13.0)
    p = p * q + np.float32(2.0 / 11.0)
    p = p * q + np.float32(2.0 / 9.0)
    p = p * q + np.float32(2.0 / 7.0)
    p = p * q + np.float32(2.0 / 5.0)
    p = p * q + np.float32(2.0 / 3.0)
    p = p * q + np.float32(2.0)
    return max(x, np.float32(0.0)) + p * s


@compiled((F2, ANY3, INT, INT, INT, INT, INT))
def read_tile(tile_TW: Any, x_BWL: Any, b: Any, w0: Any, lanes: Any, t0: Any, steps: Any) -> None:
    """Copy a tile from a tensor with any strides; the inner loop follows the axis that is closer in memory."""
    if x_BWL.strides[1] < x_BWL.strides[2]:
        for t in range(steps):
            for w in range(lanes):
                tile_TW[t, w] = x_BWL[b, w0 + w, t0 + t]
    else:
        for w in range(lanes):
            for t in range(steps):
                tile_TW[t, w] = x_BWL[b, w0 + w, t0 + t]


@compiled((ANY3, F2, INT, INT, INT, INT, INT))
def write_tile(x_BWL: Any, tile_TW: Any, b: Any, w0: Any, lanes: Any, t0: Any, steps: Any) -> None:
    if x_BWL.strides[1] < x_BWL.strides[2]:
        for t in range(steps):
            for w in range(lanes):
                x_BWL[b, w0 + w, t0 + t] = tile_TW[t, w]
    else:
        for w in range(lanes):
            for t in range(steps):
                x_BWL[b, w0 + w, t0 + t] = tile_TW[t, w]


@compiled((F2, F2))
def copy(to_XY: Any, from_XY: Any) -> None:
    for x in range(to_XY.shape[0]):
        for y in range(to_XY.shape[1]):
            to_XY[x, y] = from_XY[x, y]


@compiled((F3,))
def clear(x_XYZ: Any) -> None:
    for x in range(x_XYZ.shape[0]):
        for y in range(x_XYZ.shape[1]):
            for z in range(x_XYZ.shape[2]):
                x_XYZ[x, y, z] = np.float32(0.0)


@compiled((F1, F1, INT, INT))
def read_line(line_W: Any, x_W: Any, w0: Any, lanes: Any) -> None:
    for w in range(lanes):
        line_W[w] = x_W[w0 + w]
    for w in range(lanes, LANES):
        line_W[w] = np.float32(0.0)


@compiled((F1, F1, INT, INT))
def write_line(x_W: Any, line_W: Any, w0: Any, lanes: Any) -> None:
    for w in range(lanes):
        x_W[w0 + w] = line_W[w]


@compiled((F2, F2, INT, INT))
def read_channels(tile_NW: Any, x_WN: Any, w0: Any, lanes: Any) -> None:
    for n in range(x_WN.shape[1]):
        for w in range(lanes):
            tile_NW[n, w] = x_WN[w0 + w, n]
        for w in range(lanes, LANES):
            tile_NW[n, w] = np.float32(0.0)


@compiled((F2, F2, INT, INT))
def write_channels(x_WN: Any, tile_NW: Any, w0: Any, lanes: Any) -> None:
    for w in range(lanes):
        for n in range(x_WN.shape[1]):
            x_WN[w0 + w, n] = tile_NW[n, w]
