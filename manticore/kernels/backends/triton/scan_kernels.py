"""The Triton kernels of the selective scan. A program processes tiles of channels by steps, one state after another.

Within a tile (`tiles`), h_t = decay_t h_{t-1} + inflow_t runs over the steps of a lane twice: from zero for what the
lane adds, and from the state that enters it. Between tiles, states are in memory: slot s of `states_BSNW` (batch, slot,
state, width) has the state before tile s, which is the state after tile s - 1. The slots of `grads_BSNW` have its
gradient. A SERIAL program processes all tiles of its channels in order, and uses two slots in turn if states need not
be saved. Otherwise each tile has its own program, after `scan_contributions` and `scan_link` have filled the slots.

Lanes beyond the width or length have step size 0, which changes nothing: decay 1, inflow 0. `rate_NW` is A / ln 2, for
`exp2`. B and C are packed as (batch, state, tile, STEPS / 4, LANES, 4) in fp32, 0 beyond the length.
"""

# ruff: noqa: RUF005, SIM108 - Triton's language does not unpack tuples
# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl

from manticore.kernels.backends.triton.tiles import (
    add_packed,
    block_channels,
    carry_over_lanes,
    gate,
    load_channels,
    load_packed,
    load_tile,
    program_position,
    sigmoid,
    softplus,
    step_sizes,
    store_tile,
)

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def scan_forward(
    u,
    delta,
    rate_NW,
    B_BNL,
    C_BNL,
    D,
    z,
    bias,
    y,
    states_BSNW,
    width,
    length,
    padded,
    tiles,
    slots,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    SERIAL: tl.constexpr,
    BLOCK_W: tl.constexpr,
    LANES: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Outputs from the state before each tile; a serial program also stores the state after it."""
    own_tiles = tiles if SERIAL else 1
    b, w, rows, group = program_position(width, tiles // own_tiles, BLOCK_W)
    lane = tl.arange(0, LANES)[None, :]
    for tile in range(group * own_tiles, group * own_tiles + own_tiles):
        t = (tile * LANES + lane).to(tl.int64) * STEPS
        raw_J = load_tile(delta, b, w, rows, t, padded, STEPS)
        delta_J, total = step_sizes(raw_J, bias, w, rows, t, length, SOFTPLUS, STEPS)
        u_J = load_tile(u, b, w, rows, t, padded, STEPS)
        x_J = ()
        y_J = ()
        for j in tl.static_range(STEPS):
            x_J = x_J + (delta_J[j] * u_J[j],)
            if D is not None:
                y_J = y_J + (load_channels(D, w, rows) * u_J[j],)
            else:
                y_J = y_J + (tl.zeros_like(total),)
        before = states_BSNW + (b * slots + tile % slots) * N * width
        after = states_BSNW + (b * slots + (tile + 1) % slots) * N * width
        steps = (b * N * tiles + tile) * LANES * STEPS
        for n in range(N):
            rate = load_channels(rate_NW + n * width, w, rows)
            B_J = load_packed(B_BNL + steps, LANES, STEPS)
            C_J = load_packed(C_BNL + steps, LANES, STEPS)
            steps += tiles * LANES * STEPS
            decay_J = ()
            added = tl.zeros_like(total)
            for j in tl.static_range(STEPS):
                decay_J = decay_J + (tl.exp2(delta_J[j] * rate),)
                added = decay_J[j] * added + x_J[j] * B_J[j]
            first = load_channels(before + n * width, w, rows)
            h, last = carry_over_lanes(tl.exp2(total * rate), added, first, LANES, False)
            if SERIAL:
                tl.store(after + n * width + w + lane * 0, last, mask=rows & (lane == LANES - 1))
            sums = ()
            for j in tl.static_range(STEPS):
                h = decay_J[j] * h + x_J[j] * B_J[j]
                sums = sums + (y_J[j] + h * C_J[j],)
            y_J = sums
        if z is not None:
            y_J = gate(y_J, load_tile(z, b, w, rows, t, padded, STEPS), STEPS)
        store_tile(y, b, width, w, rows, t, padded, y_J, STEPS)
        if SERIAL:
            tl.debug_barrier()


@triton.jit
def scan_backward(
    u,
    delta,
    rate_NW,
    B_BNL,
    C_BNL,
    D,
    z,
    bias,
    dy,
    states_BSNW,
    grads_BSNW,
    du,
    ddelta,
    dz,
    dB_GBNL,
    dC_GBNL,
    dD_BTW,
    dbias_BTW,
    batch,
    width,
    length,
    padded,
    tiles,
    blocks,
    groups,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    LANES: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Gradients from the state before each tile and the gradient of the state after it.

    With p_t = decay_t h_{t-1} and c_t = C_t dy_t, the gradient of h_t is g_t = c_t + decay_{t+1} g_{t+1}. A program
    processes `blocks` blocks of channels of one tile one after another. It adds up dB and dC in its own rows of
    `dB_GBNL` and `dC_GBNL` (group, batch, state, length), packed as B and C. The gradient of A of a tile replaces the
    gradient of the state after it in `grads_BSNW`. Sums over steps are stored for each tile T.
    """
    program = tl.program_id(0)
    tile = program % tiles
    group = program // tiles % groups
    b = (program // tiles // groups).to(tl.int64)
    lane = tl.arange(0, LANES)[None, :]
    t = (tile * LANES + lane).to(tl.int64) * STEPS
    partial = ((group * batch + b) * N * tiles + tile) * LANES * STEPS
    for k in range(blocks):
        w, rows = block_channels(group * blocks + k, width, BLOCK_W)
        raw_J = load_tile(delta, b, w, rows, t, padded, STEPS)
        delta_J, total = step_sizes(raw_J, bias, w, rows, t, length, SOFTPLUS, STEPS)
        u_J = load_tile(u, b, w, rows, t, padded, STEPS)
        dy_J = load_tile(dy, b, w, rows, t, padded, STEPS)
        if z is not None:
            dy_J = gate(dy_J, load_tile(z, b, w, rows, t, padded, STEPS), STEPS)
        x_J = ()
        y_J = ()
        for j in tl.static_range(STEPS):
            x_J = x_J + (delta_J[j] * u_J[j],)
            y_J = y_J + (tl.zeros_like(total),)
        dx_J = y_J
        dstep_J = y_J
        slot = (b * (tiles + 1) + tile) * N * width
        steps = (b * N * tiles + tile) * LANES * STEPS
        partial_steps = partial
        for n in range(N):
            rate = load_channels(rate_NW + n * width, w, rows)
            lane_decay = tl.exp2(total * rate)
            B_J = load_packed(B_BNL + steps, LANES, STEPS)
            C_J = load_packed(C_BNL + steps, LANES, STEPS)
            decay_J = ()
            added = tl.zeros_like(total)
            for j in tl.static_range(STEPS):
                decay_J = decay_J + (tl.exp2(delta_J[j] * rate),)
                added = decay_J[j] * added + x_J[j] * B_J[j]
            first = load_channels(states_BSNW + slot, w, rows)
            h, _ = carry_over_lanes(lane_decay, added, first, LANES, False)
            p_J = ()
            dC_J = ()
            sums = ()
            for j in tl.static_range(STEPS):
                p_J = p_J + (decay_J[j] * h,)
                h = p_J[j] + x_J[j] * B_J[j]
                if z is not None:
                    sums = sums + (y_J[j] + h * C_J[j],)
                dC_J = dC_J + (tl.sum(h * dy_J[j], 0, keep_dims=True),)
            add_packed(dC_GBNL + partial_steps, dC_J, k > 0, LANES, STEPS)
            if z is not None:
                y_J = sums

            added = tl.zeros_like(total)
            for j in tl.static_range(STEPS - 1, -1, -1):
                added = decay_J[j] * (added + dy_J[j] * C_J[j])
            last = load_channels(grads_BSNW + slot + N * width, w, rows)
            g, _ = carry_over_lanes(lane_decay, added, last, LANES, True)
            dA = tl.zeros_like(total)
            dB_J = ()
            dx_back = ()
            dstep_back = ()
            for j in tl.static_range(STEPS - 1, -1, -1):
                g += dy_J[j] * C_J[j]
                dB_J = (tl.sum(g * x_J[j], 0, keep_dims=True),) + dB_J
                dx_back = (dx_J[j] + g * B_J[j],) + dx_back
                gp = g * p_J[j]
                dA += gp * delta_J[j]
                dstep_back = (dstep_J[j] + gp * rate,) + dstep_back
                g *= decay_J[j]
            add_packed(dB_GBNL + partial_steps, dB_J, k > 0, LANES, STEPS)
            dx_J = dx_back
            dstep_J = dstep_back
            tl.store(grads_BSNW + slot + N * width + w, tl.sum(dA, 1, keep_dims=True), mask=rows)
            slot += width
            steps += tiles * LANES * STEPS
            partial_steps += tiles * LANES * STEPS

        # Loaded again, to save registers in the loop above.
        raw_J = load_tile(delta, b, w, rows, t, padded, STEPS)
        u_J = load_tile(u, b, w, rows, t, padded, STEPS)
        dy_J = load_tile(dy, b, w, rows, t, padded, STEPS)
        if z is not None:
            z_J = load_tile(z, b, w, rows, t, padded, STEPS)
        dD = tl.zeros_like(total)
        dbias = tl.zeros_like(total)
        du_J = ()
        ddelta_J = ()
        dz_J = ()
        for j in tl.static_range(STEPS):
            gradient = dy_J[j]
            if z is not None:
                y_WT = y_J[j]
                if D is not None:
                    y_WT += load_channels(D, w, rows) * u_J[j]
                s_WT = sigmoid(z_J[j])
                dz_J = dz_J + (gradient * y_WT * s_WT * (1.0 + z_J[j] * (1.0 - s_WT)),)
                gradient *= z_J[j] * s_WT
            size = raw_J[j]
            if bias is not None:
                size += load_channels(bias, w, rows)
            dstep = dstep_J[j] * LN2 + dx_J[j] * u_J[j]
            if SOFTPLUS:
                dstep *= sigmoid(size)
                size = softplus(size)
            du_WT = dx_J[j] * size
            if D is not None:
                du_WT += load_channels(D, w, rows) * gradient
                dD += u_J[j] * gradient
            du_J = du_J + (du_WT,)
            dbias += tl.where(rows & (t + j < length), dstep, 0.0)
            ddelta_J = ddelta_J + (dstep,)
        store_tile(du, b, width, w, rows, t, padded, du_J, STEPS)
        store_tile(ddelta, b, width, w, rows, t, padded, ddelta_J, STEPS)
        if z is not None:
            store_tile(dz, b, width, w, rows, t, padded, dz_J, STEPS)
        at = (b * tiles + tile) * width + w
        if D is not None:
            tl.store(dD_BTW + at, tl.sum(dD, 1, keep_dims=True), mask=rows)
        if bias is not None:
            tl.store(dbias_BTW + at, tl.sum(dbias, 1, keep_dims=True), mask=rows)
        tl.debug_barrier()


@triton.jit
def scan_contributions(
    delta,
    value,
    z,
    projection_BNL,
    bias,
    rate_NW,
    total_BTW,
    slots_BSNW,
    width,
    length,
    padded,
    tiles,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    BACKWARD: tl.constexpr,
    BLOCK_W: tl.constexpr,
    LANES: tl.constexpr,
    STEPS: tl.constexpr,
):
    """What one tile adds to the state after it, from a zero state; BACKWARD: to the gradient of the state before it.

    The inflow of a step decays by the exponential of the sum of the step sizes that follow it, so no scan is needed.
    """
    b, w, rows, tile = program_position(width, tiles, BLOCK_W)
    lane = tl.arange(0, LANES)[None, :]
    t = (tile * LANES + lane).to(tl.int64) * STEPS
    raw_J = load_tile(delta, b, w, rows, t, padded, STEPS)
    delta_J, total = step_sizes(raw_J, bias, w, rows, t, length, SOFTPLUS, STEPS)
    loaded = load_tile(value, b, w, rows, t, padded, STEPS)
    nothing = tl.zeros_like(tl.sum(total, 1, keep_dims=True))
    passed, tile_total = carry_over_lanes(tl.full(total.shape, 1.0, tl.float32), total, nothing, LANES, not BACKWARD)
    value_J = ()
    between_J = ()
    if BACKWARD:
        if z is not None:
            loaded = gate(loaded, load_tile(z, b, w, rows, t, padded, STEPS), STEPS)
        for j in tl.static_range(STEPS):
            passed += delta_J[j]
            between_J = between_J + (passed,)
            value_J = value_J + (loaded[j],)
        slot = tile
    else:
        for j in tl.static_range(STEPS - 1, -1, -1):
            between_J = (passed,) + between_J
            value_J = (loaded[j] * delta_J[j],) + value_J
            passed += delta_J[j]
        slot = tile + 1
    end = 0 if not BACKWARD else LANES - 1
    at = total_BTW + (b * tiles + tile) * width + w + lane * 0
    tl.store(at, tile_total, mask=rows & (lane == end))
    slot_start = slots_BSNW + (b * (tiles + 1) + slot) * N * width
    steps = (b * N * tiles + tile) * LANES * STEPS
    for n in range(N):
        rate = load_channels(rate_NW + n * width, w, rows)
        projection_J = load_packed(projection_BNL + steps, LANES, STEPS)
        steps += tiles * LANES * STEPS
        added = tl.zeros_like(total)
        for j in tl.static_range(STEPS):
            added += tl.exp2(between_J[j] * rate) * (value_J[j] * projection_J[j])
        tl.store(slot_start + n * width + w, tl.sum(added, 1, keep_dims=True), mask=rows)


@triton.jit
def combine(decay1, inflow1, decay2, inflow2):
    """The operator of the associative scan: two consecutive parts of h = decay h + inflow as one part."""
    return decay1 * decay2, decay2 * inflow1 + inflow2


@triton.jit
def scan_link(
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
    b, w, rows, n = program_position(width, N, BLOCK_W)
    rate = load_channels(rate_NW + n * width, w, rows)
    slots = slots_BSNW + (b * (tiles + 1) * N + n) * width + w
    carry = tl.load(slots + (b * 0 + tiles) * N * width if BACKWARD else slots, mask=rows, other=0.0)
    lane = tl.arange(0, BLOCK_T)[None, :]
    for k in range(tl.cdiv(tiles, BLOCK_T)):
        i = lane.to(tl.int64) + k * BLOCK_T
        inside = rows & (i < tiles)
        tile = tiles - 1 - i if BACKWARD else i
        slot_start = slots + (tile if BACKWARD else tile + 1) * N * width
        total = tl.load(total_BTW + (b * tiles + tile) * width + w, mask=inside, other=0.0)
        decay_so_far, h = tl.associative_scan(
            (tl.exp2(rate * total), tl.load(slot_start, mask=inside, other=0.0)), 1, combine
        )
        h += decay_so_far * carry
        carry = tl.sum(tl.where(lane == BLOCK_T - 1, h, 0.0), 1, keep_dims=True)
        tl.store(slot_start, h, mask=inside)
