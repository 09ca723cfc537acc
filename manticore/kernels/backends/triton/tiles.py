"""What Triton kernels do with one tile of channels by steps: read, write, step sizes, stable functions.

Tiles are fp32 whatever the tensors hold. A sequence comes as `.start`, `.batch`, `.row`, `.step`: pointer and strides.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def then(decay1, inflow1, decay2, inflow2):
    """One stretch of the recurrence and the next, as one stretch."""
    return decay1 * decay2, decay2 * inflow1 + inflow2


@triton.jit
def read(x, b, row, t, inside):
    """A tile of a sequence in fp32, 0 outside."""
    at = b * x.batch + tl.cast(row, tl.int64) * x.row + t * x.step
    return tl.load(x.start + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def write(x, b, row, t, inside, tile):
    """The part of a tile that is inside, rounded to what the sequence holds."""
    tl.store(x.start + b * x.batch + row * x.row + t * x.step, tile.to(x.start.dtype.element_ty), mask=inside)


@triton.jit
def channels(x_W, w, rows):
    """One number for each channel, in fp32."""
    return tl.load(x_W + w, mask=rows, other=0.0).to(tl.float32)


@triton.jit
def sigmoid(x):
    """1 / (1 + e**-x) without an exponential above 1."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def softplus(x):
    """log(1 + e**x) to the last digits: max(x, 0) + 2 atanh(s), the latter a series in s = e / (e + 2) <= 1/3."""
    e = tl.exp(-tl.abs(x))
    s = e / (e + 2.0)
    q = s * s
    series = 2 / 7 + q * (2 / 9 + q * (2 / 11 + q * (2 / 13)))
    series = 2.0 + q * (2 / 3 + q * (2 / 5 + q * series))
    return tl.where(x > 0, x, 0.0) + s * series


@triton.jit
def raw_steps(delta, bias, b, w, rows, t, inside):
    """A tile of what step sizes are made of."""
    raw = read(delta, b, w, t, inside)
    if bias is not None:
        raw += channels(bias, w, rows)
    return raw


@triton.jit
def step_sizes(delta, bias, b, w, rows, t, inside, SOFTPLUS: tl.constexpr):
    """A tile of step sizes, 0 outside."""
    size = raw_steps(delta, bias, b, w, rows, t, inside)
    if SOFTPLUS:
        size = softplus(size)
    return tl.where(inside, size, 0.0)


@triton.jit
def place(width, parts, BLOCK_W: tl.constexpr):
    """This program's batch, block of channels with its channels and which exist, and part of the time."""
    program = tl.program_id(0)
    blocks = tl.cdiv(width, BLOCK_W)
    block = program // parts % blocks
    w = (block * BLOCK_W + tl.arange(0, BLOCK_W)).to(tl.int64)[:, None]
    return (program // parts // blocks).to(tl.int64), block, w, w < width, program % parts
