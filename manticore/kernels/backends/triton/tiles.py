"""Functions of one tile of channels by steps in Triton: load, store, step sizes, and numerically stable functions.

Tiles are in fp32 for tensors of any dtype. A sequence is a tuple of pointer and strides: `.start`, `.batch`, `.row`,
`.step`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def combine(decay1, inflow1, decay2, inflow2):
    """The operator of the associative scan: two consecutive parts of h = decay h + inflow as one part."""
    return decay1 * decay2, decay2 * inflow1 + inflow2


@triton.jit
def load_tile(x, b, row, t, inside):
    """A tile of a sequence in fp32, 0 outside the sequence."""
    at = b * x.batch + tl.cast(row, tl.int64) * x.row + t * x.step
    return tl.load(x.start + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_tile(x, b, row, t, inside, tile):
    """Store the part of a tile inside the sequence, in the sequence's dtype."""
    tl.store(x.start + b * x.batch + row * x.row + t * x.step, tile.to(x.start.dtype.element_ty), mask=inside)


@triton.jit
def load_channels(x_W, w, rows):
    """One number for each channel of the tile, in fp32."""
    return tl.load(x_W + w, mask=rows, other=0.0).to(tl.float32)


@triton.jit
def sigmoid(x):
    """1 / (1 + e**-x), computed from e**-|x|, which cannot overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def softplus(x):
    """log(1 + e**x) = max(x, 0) + 2 atanh(s) with s = e / (e + 2) <= 1/3 and e = e**-|x|; atanh by its series."""
    e = tl.exp(-tl.abs(x))
    s = e / (e + 2.0)
    q = s * s
    series = 2 / 7 + q * (2 / 9 + q * (2 / 11 + q * (2 / 13)))
    series = 2.0 + q * (2 / 3 + q * (2 / 5 + q * series))
    return tl.where(x > 0, x, 0.0) + s * series


@triton.jit
def load_raw_steps(delta, bias, b, w, rows, t, inside):
    """A tile of delta + bias, the step sizes before softplus."""
    raw = load_tile(delta, b, w, t, inside)
    if bias is not None:
        raw += load_channels(bias, w, rows)
    return raw


@triton.jit
def load_steps(delta, bias, b, w, rows, t, inside, SOFTPLUS: tl.constexpr):
    """A tile of step sizes, 0 outside the sequence."""
    size = load_raw_steps(delta, bias, b, w, rows, t, inside)
    if SOFTPLUS:
        size = softplus(size)
    return tl.where(inside, size, 0.0)


@triton.jit
def program_position(width, parts, BLOCK_W: tl.constexpr):
    """Of this program: batch index, block index, channels (BLOCK_W, 1), which of them exist, and part of the steps."""
    program = tl.program_id(0)
    blocks = tl.cdiv(width, BLOCK_W)
    block = program // parts % blocks
    w = (block * BLOCK_W + tl.arange(0, BLOCK_W)).to(tl.int64)[:, None]
    return (program // parts // blocks).to(tl.int64), block, w, w < width, program % parts
