"""Functions of one tile of channels by steps in Triton: loads, stores, step sizes, sums and prefix sums over lanes.

A tile has BLOCK_W channels and LANES * STEPS consecutive steps, STEPS for each lane. It is a tuple of STEPS tensors
(BLOCK_W, LANES) in fp32; element j of lane l is step l * STEPS + j. With as many lanes as a warp has threads and one
warp, all steps of a lane are in one thread, and recurrences over them need no communication. STEPS is a multiple of
four, and memory is read and written by four steps at once.

A sequence is a tuple of pointer and strides: `.start`, `.batch`, `.row`. Its steps are adjacent in memory and padded
with zeros to `padded` steps, a multiple of 16.
"""

# ruff: noqa: RUF005 - Triton's language does not unpack tuples
# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def split_four(x):
    """(..., 4) -> a tuple of the four."""
    even, odd = tl.split(tl.reshape(x, (x.shape[0], x.shape[1], 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return (first, second, third, fourth)


@triton.jit
def join_four(first, second, third, fourth):
    """The inverse of `split_four`."""
    pairs = tl.join(tl.join(first, third), tl.join(second, fourth))
    return tl.reshape(pairs, (first.shape[0], first.shape[1], 4))


@triton.jit
def four_steps(batch_stride, row_stride, b, w, rows, t, padded):
    """Offsets of four steps of each lane, from step `t` on, and which of them exist."""
    t_WT4 = t[:, :, None] + tl.arange(0, 4)[None, None, :]
    return b * batch_stride + w[:, :, None] * row_stride + t_WT4, rows[:, :, None] & (t_WT4 < padded)


@triton.jit
def load_tile(x, b, w, rows, t, padded, STEPS: tl.constexpr):
    """A tile of a sequence, 0 outside the sequence; `t` is the first step of each lane."""
    tile = ()
    for j in tl.static_range(0, STEPS, 4):
        at, inside = four_steps(x.batch, x.row, b, w, rows, t + j, padded)
        tile = tile + split_four(tl.load(x.start + at, mask=inside, other=0.0).to(tl.float32))
    return tile


@triton.jit
def store_tile(y, b, width, w, rows, t, padded, tile, STEPS: tl.constexpr):
    """Store the part of a tile inside a contiguous tensor (batch, width, padded), in the tensor's dtype."""
    for j in tl.static_range(0, STEPS, 4):
        at, inside = four_steps(padded.to(tl.int64) * width, padded, b, w, rows, t + j, padded)
        values = join_four(tile[j], tile[j + 1], tile[j + 2], tile[j + 3])
        tl.store(y + at, values.to(y.dtype.element_ty), mask=inside)


@triton.jit
def load_channels(x_W, w, rows):
    """One number for each channel of the tile, in fp32."""
    return tl.load(x_W + w, mask=rows, other=0.0).to(tl.float32)


@triton.jit
def packed_steps(x, j, LANES: tl.constexpr):
    """Addresses of steps j to j + 3 of each lane in memory packed as (STEPS / 4, LANES, 4)."""
    return x + j * LANES + tl.arange(0, LANES)[None, :, None] * 4 + tl.arange(0, 4)[None, None, :]


@triton.jit
def load_packed(x, LANES: tl.constexpr, STEPS: tl.constexpr):
    """The steps of a tile from packed memory, as a tuple of tensors (1, LANES)."""
    steps = ()
    for j in tl.static_range(0, STEPS, 4):
        steps = steps + split_four(tl.load(packed_steps(x, j, LANES)))
    return steps


@triton.jit
def add_packed(x, tile, again, LANES: tl.constexpr, STEPS: tl.constexpr):
    """Store the sum of a tile over its channels to packed memory, added to what is there if `again`."""
    for j in tl.static_range(0, STEPS, 4):
        at = packed_steps(x, j, LANES)
        values = join_four(tile[j], tile[j + 1], tile[j + 2], tile[j + 3])
        exists = tl.arange(0, LANES)[None, :, None] >= 0
        tl.store(at, values + tl.load(at, mask=exists & again, other=0.0))


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
def step_sizes(raw, bias, w, rows, t, length, SOFTPLUS: tl.constexpr, STEPS: tl.constexpr):
    """A tile of step sizes, 0 outside the sequence, which changes no state; and their sum over the steps of a lane."""
    total = tl.zeros_like(raw[0])
    tile = ()
    for j in tl.static_range(STEPS):
        size = raw[j]
        if bias is not None:
            size += load_channels(bias, w, rows)
        if SOFTPLUS:
            size = softplus(size)
        size = tl.where(rows & (t + j < length), size, 0.0)
        total += size
        tile = tile + (size,)
    return tile, total


@triton.jit
def gate(values, z, STEPS: tl.constexpr):
    """A tile times silu(z)."""
    gated = ()
    for j in tl.static_range(STEPS):
        gated = gated + (values[j] * z[j] * sigmoid(z[j]),)
    return gated


@triton.jit
def carry_over_lanes(decay, value, first, LANES: tl.constexpr, BACKWARD: tl.constexpr):
    """The recurrence h = decay h + value from lane to lane: what enters each lane, and what leaves the last.

    `first` enters the first lane, the last one if BACKWARD. In log2(LANES) rounds, up to 6, a lane adds what came from
    a distance of 1, 2, 4, ... lanes. The first lane depends on no other, so its decay is 0, and in each round the
    decays of all lanes that reach it become 0; such lanes keep their values whatever they read.
    """
    lane = tl.arange(0, LANES)[None, :]
    entry = LANES - 1 if BACKWARD else 0
    value += tl.where(lane == entry, decay, 0.0) * first
    decay = tl.where(lane == entry, 0.0, decay)
    for bit in tl.static_range(6):
        if (1 << bit) < LANES:
            source = tl.minimum(lane + (1 << bit), entry) if BACKWARD else tl.maximum(lane - (1 << bit), entry)
            source = tl.broadcast_to(source, value.shape)
            value += decay * tl.gather(value, source, 1)
            decay *= tl.gather(decay, source, 1)
    source = tl.minimum(lane + 1, entry) if BACKWARD else tl.maximum(lane - 1, entry)
    entering = tl.gather(value, tl.broadcast_to(source, value.shape), 1)
    return tl.where(lane == entry, first, entering), value


@triton.jit
def program_position(width, parts, BLOCK_W: tl.constexpr):
    """Of this program: batch index, block index, channels (BLOCK_W, 1), which of them exist, and part of the steps."""
    program = tl.program_id(0)
    blocks = tl.cdiv(width, BLOCK_W)
    w, rows = block_channels(program // parts % blocks, width, BLOCK_W)
    return (program // parts // blocks).to(tl.int64), w, rows, program % parts


@triton.jit
def block_channels(block, width, BLOCK_W: tl.constexpr):
    """The channels (BLOCK_W, 1) of a block, and which of them exist."""
    w = (block.to(tl.int64) * BLOCK_W + tl.arange(0, BLOCK_W))[:, None]
    return w, w < width
