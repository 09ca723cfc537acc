"""The Triton kernels of the selective scan. A program processes tiles of channels by steps, one state after another.

Within a tile, h_t = decay_t h_{t-1} + inflow_t is an associative scan over the steps. Between tiles, states are in
memory: slot s of `states_BSNW` (batch, slot, state, width) has the state before tile s, which is the state after tile
s - 1. The slots of `grads_BSNW` have its gradient. A SERIAL program processes all tiles of its channels in order, and
uses two slots in turn if states need not be saved. Otherwise each tile has its own program, and `tile_contributions`
and `link_tiles` have filled the slots before.

Lanes beyond the width or length have step size 0, which changes nothing: decay 1, inflow 0. `rate_NW` is A / ln 2, for
`exp2`. Scans run forward only: `reverse=True` costs twenty shuffles for each element in Triton 3.6, so a backward scan
loads its operands in reverse order and flips the result.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl

from manticore.kernels.backends.triton.tiles import (
    combine,
    load_channels,
    load_raw_steps,
    load_steps,
    load_tile,
    program_position,
    sigmoid,
    store_tile,
)

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def forward(
    u,
    delta,
    rate_NW,
    B,
    C,
    D,
    z,
    bias,
    y,
    states_BSNW,
    width,
    length,
    tiles,
    slots,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    SERIAL: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Outputs from the state before each tile; a serial program also stores the state after it."""
    own_tiles = tiles if SERIAL else 1
    b, _, w, rows, group = program_position(width, tiles // own_tiles, BLOCK_W)
    lane = tl.arange(0, BLOCK_T)[None, :]
    for tile in range(group * own_tiles, group * own_tiles + own_tiles):
        t = lane.to(tl.int64) + tile * BLOCK_T
        steps = t < length
        inside = rows & steps
        u_WT = load_tile(u, b, w, t, inside)
        delta_WT = load_steps(delta, bias, b, w, rows, t, inside, SOFTPLUS)
        x_WT = delta_WT * u_WT
        y_WT = tl.zeros_like(u_WT)
        if D is not None:
            y_WT += load_channels(D, w, rows) * u_WT
        before = states_BSNW + (b * slots + tile % slots) * N * width
        after = states_BSNW + (b * slots + (tile + 1) % slots) * N * width
        for n in range(N):
            rate = load_channels(rate_NW + n * width, w, rows)
            decay = tl.exp2(delta_WT * rate)
            decay_so_far, h = tl.associative_scan((decay, x_WT * load_tile(B, b, n, t, steps)), 1, combine)
            h += decay_so_far * load_channels(before + n * width, w, rows)
            y_WT += h * load_tile(C, b, n, t, steps)
            if SERIAL:
                end = tl.sum(tl.where(lane == BLOCK_T - 1, h, 0.0), 1, keep_dims=True)
                tl.store(after + n * width + w, end, mask=rows)
        if z is not None:
            z_WT = load_tile(z, b, w, t, inside)
            y_WT *= z_WT * sigmoid(z_WT)
        store_tile(y, b, w, t, inside, y_WT)
        if SERIAL:
            tl.debug_barrier()


@triton.jit
def backward(
    u,
    delta,
    rate_NW,
    B,
    C,
    D,
    z,
    bias,
    dy,
    states_BSNW,
    grads_BSNW,
    du,
    ddelta,
    dz,
    dA_BTNW,
    dB_KBNL,
    dC_KBNL,
    dD_BTW,
    dbias_BTW,
    batch,
    width,
    length,
    tiles,
    slots,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    SERIAL: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Gradients from the state before each tile and the gradient of the state after it.

    A serial program also stores the gradient of the state before the tile. With p_t = decay_t h_{t-1} and
    c_t = C_t dy_t, the gradient of h_t is g_t = c_t + decay_{t+1} g_{t+1}. Sums over channels are stored for each block
    K of channels and sums over steps for each tile T; the caller adds them up.
    """
    own_tiles = tiles if SERIAL else 1
    b, block, w, rows, group = program_position(width, tiles // own_tiles, BLOCK_W)
    lane = tl.arange(0, BLOCK_T)[None, :]
    for back in range(own_tiles):
        tile = group * own_tiles + own_tiles - 1 - back
        t = lane.to(tl.int64) + tile * BLOCK_T
        steps = t < length
        inside = rows & steps
        earlier = inside & (lane > 0)
        later = rows & (t + 1 < length) & (lane < BLOCK_T - 1)
        t_back = (BLOCK_T - 1 - lane).to(tl.int64) + tile * BLOCK_T

        delta_WT = load_steps(delta, bias, b, w, rows, t, inside, SOFTPLUS)
        x_WT = delta_WT * load_tile(u, b, w, t, inside)
        delta_earlier = load_steps(delta, bias, b, w, rows, t - 1, earlier, SOFTPLUS)
        x_earlier = delta_earlier * load_tile(u, b, w, t - 1, earlier)
        delta_back = tl.flip(load_steps(delta, bias, b, w, rows, t + 1, later, SOFTPLUS), 1)
        dy_WT = load_tile(dy, b, w, t, inside)
        if z is not None:
            z_WT = load_tile(z, b, w, t, inside)
            dy_WT *= z_WT * sigmoid(z_WT)
        dy_back = tl.flip(dy_WT, 1)

        y_WT = tl.zeros_like(x_WT)
        dx_WT = tl.zeros_like(x_WT)
        dstep_WT = tl.zeros_like(x_WT)
        states = states_BSNW + (b * (tiles + 1) + tile) * N * width
        after = grads_BSNW + (b * slots + (tile + 1) % slots) * N * width
        before = grads_BSNW + (b * slots + tile % slots) * N * width
        for n in range(N):
            rate = load_channels(rate_NW + n * width, w, rows)
            B_T = load_tile(B, b, n, t, steps)
            decay = tl.exp2(delta_WT * rate)
            inflow = decay * x_earlier * load_tile(B, b, n, t - 1, steps & (lane > 0))
            decay_so_far, p = tl.associative_scan((decay, inflow), 1, combine)
            p += decay_so_far * load_channels(states + n * width, w, rows)
            h = p + x_WT * B_T

            inflow = dy_back * load_tile(C, b, n, t_back, t_back < length)
            decay_so_far, g = tl.associative_scan((tl.exp2(delta_back * rate), inflow), 1, combine)
            g += decay_so_far * load_channels(after + n * width, w, rows)
            g = tl.flip(g, 1)
            if SERIAL:
                first = tl.sum(tl.where(lane == 0, decay * g, 0.0), 1, keep_dims=True)
                tl.store(before + n * width + w, first, mask=rows)

            if z is not None:
                y_WT += h * load_tile(C, b, n, t, steps)
            dx_WT += g * B_T
            gp = g * p
            dstep_WT += gp * rate
            dA = tl.sum(gp * delta_WT, 1, keep_dims=True)
            tl.store(dA_BTNW + ((b * tiles + tile) * N + n) * width + w, dA, mask=rows)
            at = ((block * batch + b) * N + n) * length + t
            tl.store(dB_KBNL + at, tl.sum(g * x_WT, 0, keep_dims=True), mask=steps)
            tl.store(dC_KBNL + at, tl.sum(h * dy_WT, 0, keep_dims=True), mask=steps)

        u_WT = load_tile(u, b, w, t, inside)  # loaded again, as `dy` and `z` below, to save registers in the loop above
        du_WT = dx_WT * delta_WT
        dstep_WT = dstep_WT * LN2 + dx_WT * u_WT
        if SOFTPLUS:
            dstep_WT *= sigmoid(load_raw_steps(delta, bias, b, w, rows, t, inside))
        at = (b * tiles + tile) * width + w
        if D is not None:
            skip = load_channels(D, w, rows)
            y_WT += skip * u_WT
            du_WT += skip * dy_WT
            tl.store(dD_BTW + at, tl.sum(u_WT * dy_WT, 1, keep_dims=True), mask=rows)
        if bias is not None:
            tl.store(dbias_BTW + at, tl.sum(tl.where(inside, dstep_WT, 0.0), 1, keep_dims=True), mask=rows)
        if z is not None:
            z_WT = load_tile(z, b, w, t, inside)
            s_WT = sigmoid(z_WT)
            dgate = s_WT * (1.0 + z_WT * (1.0 - s_WT))
            store_tile(dz, b, w, t, inside, load_tile(dy, b, w, t, inside) * y_WT * dgate)
        store_tile(du, b, w, t, inside, du_WT)
        store_tile(ddelta, b, w, t, inside, dstep_WT)
        if SERIAL:
            tl.debug_barrier()


@triton.jit
def tile_contributions(
    delta,
    value,
    z,
    projection,
    bias,
    rate_NW,
    total_BTW,
    slots_BSNW,
    width,
    length,
    tiles,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    BACKWARD: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """What one tile adds to the state after it, from a zero state; BACKWARD: to the gradient of the state before it.

    The inflow of a step decays by the exponential of the sum of the step sizes that follow it, so no scan is needed.
    """
    b, _, w, rows, tile = program_position(width, tiles, BLOCK_W)
    lane = tl.arange(0, BLOCK_T)[None, :]
    t = lane.to(tl.int64) + tile * BLOCK_T
    steps = t < length
    inside = rows & steps
    value_WT = load_tile(value, b, w, t, inside)
    delta_WT = load_steps(delta, bias, b, w, rows, t, inside, SOFTPLUS)
    if BACKWARD:
        if z is not None:
            z_WT = load_tile(z, b, w, t, inside)
            value_WT *= z_WT * sigmoid(z_WT)
        between = tl.cumsum(delta_WT, 1)
        slot = tile
    else:
        value_WT *= delta_WT
        later = rows & (t + 1 < length) & (lane < BLOCK_T - 1)
        between = load_steps(delta, bias, b, w, rows, t + 1, later, SOFTPLUS)
        between = tl.cumsum(between, 1, reverse=True)
        slot = tile + 1
    tl.store(total_BTW + (b * tiles + tile) * width + w, tl.sum(delta_WT, 1, keep_dims=True), mask=rows)
    own = slots_BSNW + (b * (tiles + 1) + slot) * N * width
    for n in range(N):
        contribution = tl.exp2(between * load_channels(rate_NW + n * width, w, rows)) * value_WT
        contribution *= load_tile(projection, b, n, t, steps)
        tl.store(own + n * width + w, tl.sum(contribution, 1, keep_dims=True), mask=rows)


@triton.jit
def link_tiles(
    rate_NW,
    total_BTW,
    slots_BSNW,
    width,
    tiles,
    N: tl.constexpr,
    BACKWARD: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Run the recurrence over tiles, which turns their contributions into states; each program has one state index."""
    b, _, w, rows, n = program_position(width, N, BLOCK_W)
    rate = load_channels(rate_NW + n * width, w, rows)
    slots = slots_BSNW + (b * (tiles + 1) * N + n) * width + w
    carry = tl.load(slots + (b * 0 + tiles) * N * width if BACKWARD else slots, mask=rows, other=0.0)
    lane = tl.arange(0, BLOCK_T)[None, :]
    for k in range(tl.cdiv(tiles, BLOCK_T)):
        i = lane.to(tl.int64) + k * BLOCK_T
        inside = rows & (i < tiles)
        tile = tiles - 1 - i if BACKWARD else i
        own = slots + (tile if BACKWARD else tile + 1) * N * width
        total = tl.load(total_BTW + (b * tiles + tile) * width + w, mask=inside, other=0.0)
        decay_so_far, h = tl.associative_scan((tl.exp2(rate * total), tl.load(own, mask=inside, other=0.0)), 1, combine)
        h += decay_so_far * carry
        carry = tl.sum(tl.where(lane == BLOCK_T - 1, h, 0.0), 1, keep_dims=True)
        tl.store(own, h, mask=inside)
