"""The loops of the selective scan in numba, forward and backward, for one core.

A task is one block of LANES channels of one sequence, and a call runs a range of tasks. It walks the sequence in chunks
of CHUNK steps: tiles of the inputs are copied into a small buffer (T steps by W lanes), the recurrence runs over it
with all lanes in one vector, and outputs are copied back. Importing this file compiles it, or loads it from numba's
cache.

Forward, with step sizes d_t = softplus(delta_t + bias) and rates A::

    h_t = exp(d_t A) h_{t-1} + B_t (d_t u_t),   y_t = C_t . h_t + D u_t,   out_t = y_t silu(z_t)

Backward, with the gradient g_t of h_t::

    g_t = exp(d_{t+1} A) g_{t+1} + C_t dy_t
    d(d_t A) = g_t exp(d_t A) h_{t-1},   d(d_t u_t) = g_t . B_t,   dB_t = g_t d_t u_t,   dC_t = dy_t h_t

where dB_t and dC_t are summed over channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from manticore.kernels.backends.cpu.tiles import (
    ANY3,
    BOOL,
    CHUNK,
    F1,
    F2,
    F3,
    F4,
    F5,
    INT,
    LANES,
    LOG2_E,
    REORDER,
    clear,
    compiled,
    copy,
    exp2,
    read_channels,
    read_line,
    read_tile,
    sigmoid,
    softplus,
    write_channels,
    write_line,
    write_tile,
)


@compiled((F2, F2, F2, F1, BOOL, INT))
def compute_steps(delta_TW: Any, du_TW: Any, u_TW: Any, bias_W: Any, with_softplus: Any, steps: Any) -> None:
    """Replace raw delta by the step size, and fill `du_TW` with step size times input."""
    for t in range(steps):
        for w in range(LANES):
            delta_TW[t, w] += bias_W[w]
        if with_softplus:
            for w in range(LANES):
                delta_TW[t, w] = softplus(delta_TW[t, w])
        for w in range(LANES):
            du_TW[t, w] = delta_TW[t, w] * u_TW[t, w]


@compiled((F2, F2, F2, F2, F2, F2, F2, INT))
def scan_tile(h_NW: Any, y_TW: Any, rate_NW: Any, delta_TW: Any, du_TW: Any, B_TN: Any, C_TN: Any, steps: Any) -> None:
    """Run the recurrence over one tile, adding C . h to `y_TW`."""
    states = h_NW.shape[0]
    for t in range(steps):
        for n in range(states):
            inflow, outflow = B_TN[t, n], C_TN[t, n]
            for w in range(LANES):
                h = exp2(delta_TW[t, w] * rate_NW[n, w]) * h_NW[n, w] + inflow * du_TW[t, w]
                h_NW[n, w] = h
                y_TW[t, w] += outflow * h


@compiled((F3, F3, F2, F2, F2, F2, F2, F2, F2, INT))
def scan_tile_saving(
    h_TNW: Any,
    decay_TNW: Any,
    h_NW: Any,
    y_TW: Any,
    rate_NW: Any,
    delta_TW: Any,
    du_TW: Any,
    B_TN: Any,
    C_TN: Any,
    steps: Any,
) -> None:
    """`scan_tile` that also saves each step's decay and the state before it, and the state after the last step."""
    states = h_NW.shape[0]
    for t in range(steps):
        for n in range(states):
            inflow, outflow = B_TN[t, n], C_TN[t, n]
            for w in range(LANES):
                decay = exp2(delta_TW[t, w] * rate_NW[n, w])
                before = h_NW[n, w]
                after = decay * before + inflow * du_TW[t, w]
                decay_TNW[t, n, w] = decay
                h_TNW[t, n, w] = before
                h_NW[n, w] = after
                y_TW[t, w] += outflow * after
    copy(h_TNW[steps], h_NW)


@compiled((F2, F2, F2, F2, F2, F2, F3, F3, F2, F2, F2, F2, F2, F2, INT), fastmath=REORDER)
def scan_tile_backward(
    g_NW: Any,
    dA_NW: Any,
    ddelta_TW: Any,
    ddu_TW: Any,
    dB_TN: Any,
    dC_TN: Any,
    h_TNW: Any,
    decay_TNW: Any,
    A_NW: Any,
    delta_TW: Any,
    du_TW: Any,
    dy_TW: Any,
    B_TN: Any,
    C_TN: Any,
    steps: Any,
) -> None:
    """Run the backward recurrence over one tile. `g_NW` is the gradient of the state after it, then before it."""
    states = g_NW.shape[0]
    for reverse in range(steps):
        t = steps - 1 - reverse
        for n in range(states):
            inflow, outflow = B_TN[t, n], C_TN[t, n]
            dB = np.float32(0.0)
            dC = np.float32(0.0)
            for w in range(LANES):
                g = g_NW[n, w] + outflow * dy_TW[t, w]
                dC += dy_TW[t, w] * h_TNW[t + 1, n, w]
                dB += g * du_TW[t, w]
                ddu_TW[t, w] += g * inflow
                g *= decay_TNW[t, n, w]
                g_NW[n, w] = g
                dx = g * h_TNW[t, n, w]
                ddelta_TW[t, w] += dx * A_NW[n, w]
                dA_NW[n, w] += dx * delta_TW[t, w]
            dB_TN[t, n] = dB
            dC_TN[t, n] = dC


@compiled((F2, F2, F2, F2, F1, INT))
def add_skip_and_gate(y_TW: Any, out_TW: Any, u_TW: Any, z_TW: Any, D_W: Any, steps: Any) -> None:
    """out = (y + D u) silu(z); `y_TW` becomes y + D u."""
    for t in range(steps):
        for w in range(LANES):
            y = y_TW[t, w] + D_W[w] * u_TW[t, w]
            y_TW[t, w] = y
            out_TW[t, w] = y * z_TW[t, w] * sigmoid(z_TW[t, w])


@compiled((F2, F2, F2, F2, F2, F1, INT))
def gate_backward(dy_TW: Any, dz_TW: Any, y_TW: Any, z_TW: Any, u_TW: Any, D_W: Any, steps: Any) -> None:
    """Replace the gradient of the gated output by that of the ungated one, and fill `dz_TW`."""
    for t in range(steps):
        for w in range(LANES):
            z, dout = z_TW[t, w], dy_TW[t, w]
            s = sigmoid(z)
            dz_TW[t, w] = dout * (y_TW[t, w] + D_W[w] * u_TW[t, w]) * s * (np.float32(1.0) + z * (np.float32(1.0) - s))
            dy_TW[t, w] = dout * z * s


@compiled((F2, F2, F1, F1, F2, F2, F2, F2, F2, F1, F1, BOOL, INT))
def input_gradients(
    du_out_TW: Any,
    ddelta_TW: Any,
    dD_W: Any,
    dbias_W: Any,
    ddu_TW: Any,
    dy_TW: Any,
    u_TW: Any,
    delta_TW: Any,
    raw_TW: Any,
    D_W: Any,
    bias_W: Any,
    with_softplus: Any,
    steps: Any,
) -> None:
    """Gradients of (delta, u, D, bias) from those of (step size, step size * u, ungated y)."""
    for t in range(steps):
        for w in range(LANES):
            du_out_TW[t, w] = ddu_TW[t, w] * delta_TW[t, w] + D_W[w] * dy_TW[t, w]
            ddelta_TW[t, w] += ddu_TW[t, w] * u_TW[t, w]
            dD_W[w] += dy_TW[t, w] * u_TW[t, w]
        if with_softplus:
            for w in range(LANES):
                ddelta_TW[t, w] *= sigmoid(raw_TW[t, w] + bias_W[w])
        for w in range(LANES):
            dbias_W[w] += ddelta_TW[t, w]


@compiled((F2, F2, F2, INT, INT))
def read_rates(A_NW: Any, rate_NW: Any, A_WN: Any, w0: Any, lanes: Any) -> None:
    """Copy A, and `rate` = A / ln 2, with which exp(d A) = exp2(d rate)."""
    read_channels(A_NW, A_WN, w0, lanes)
    for n in range(A_NW.shape[0]):
        for w in range(LANES):
            rate_NW[n, w] = A_NW[n, w] * LOG2_E


@compiled((F2, ANY3, INT, INT, INT))
def read_steps(tile_TN: Any, x_BNL: Any, b: Any, t0: Any, steps: Any) -> None:
    for t in range(steps):
        for n in range(x_BNL.shape[1]):
            tile_TN[t, n] = x_BNL[b, n, t0 + t]


@compiled((INT, INT, ANY3, ANY3, F2, ANY3, ANY3, F1, ANY3, F1, F3, BOOL, BOOL, BOOL, ANY3, F3, F5))
def forward(
    first: Any,
    last: Any,
    u_BWL: Any,
    delta_BWL: Any,
    A_WN: Any,
    B_BNL: Any,
    C_BNL: Any,
    D_W: Any,
    z_BWL: Any,
    bias_W: Any,
    initial_BWN: Any,
    with_softplus: Any,
    with_gate: Any,
    save_states: Any,
    out_BWL: Any,
    last_BWN: Any,
    saved_BKSNW: Any,
) -> None:
    """Tasks `first` to `last` - 1 of the scan. With `save_states`, the state before each chunk goes to `saved_BKSNW`.

    K counts blocks of LANES channels, S chunks of CHUNK steps. Lanes beyond the width are zero.
    """
    width, length, states = u_BWL.shape[1], u_BWL.shape[2], A_WN.shape[1]
    blocks = (width + LANES - 1) // LANES
    tiles = np.zeros((6, CHUNK, LANES), np.float32)
    u_TW, delta_TW, z_TW, du_TW, y_TW, out_TW = tiles[0], tiles[1], tiles[2], tiles[3], tiles[4], tiles[5]
    states_XNW = np.zeros((3, states, LANES), np.float32)
    h_NW, A_NW, rate_NW = states_XNW[0], states_XNW[1], states_XNW[2]
    projections = np.zeros((2, CHUNK, states), np.float32)
    B_TN, C_TN = projections[0], projections[1]
    lines = np.zeros((2, LANES), np.float32)
    own_D_W, own_bias_W = lines[0], lines[1]
    for task in range(first, last):
        b, k = task // blocks, task % blocks
        w0 = k * LANES
        lanes = min(LANES, width - w0)
        clear(tiles)
        read_line(own_D_W, D_W, w0, lanes)
        read_line(own_bias_W, bias_W, w0, lanes)
        read_channels(h_NW, initial_BWN[b], w0, lanes)
        read_rates(A_NW, rate_NW, A_WN, w0, lanes)
        for t0 in range(0, length, CHUNK):
            steps = min(CHUNK, length - t0)
            if save_states:
                copy(saved_BKSNW[b, k, t0 // CHUNK], h_NW)
            read_tile(u_TW, u_BWL, b, w0, lanes, t0, steps)
            read_tile(delta_TW, delta_BWL, b, w0, lanes, t0, steps)
            read_steps(B_TN, B_BNL, b, t0, steps)
            read_steps(C_TN, C_BNL, b, t0, steps)
            compute_steps(delta_TW, du_TW, u_TW, own_bias_W, with_softplus, steps)
            clear(tiles[4:5])
            # h_t = exp(d_t A) h_{t-1} + B_t (d_t u_t),  y_t = C_t . h_t
            scan_tile(h_NW, y_TW, rate_NW, delta_TW, du_TW, B_TN, C_TN, steps)
            if with_gate:
                read_tile(z_TW, z_BWL, b, w0, lanes, t0, steps)
            add_skip_and_gate(y_TW, out_TW, u_TW, z_TW, own_D_W, steps)
            write_tile(out_BWL, out_TW if with_gate else y_TW, b, w0, lanes, t0, steps)
        write_channels(last_BWN[b], h_NW, w0, lanes)


@compiled(
    (
        *(INT, INT, ANY3, ANY3, F2, ANY3, ANY3, F1, ANY3, F1, F5, ANY3, F3, BOOL, BOOL),
        *(ANY3, ANY3, ANY3, F3, F4, F4, F2, F2, F3),
    )
)
def backward(
    first: Any,
    last: Any,
    u_BWL: Any,
    delta_BWL: Any,
    A_WN: Any,
    B_BNL: Any,
    C_BNL: Any,
    D_W: Any,
    z_BWL: Any,
    bias_W: Any,
    saved_BKSNW: Any,
    dout_BWL: Any,
    dlast_BWN: Any,
    with_softplus: Any,
    with_gate: Any,
    du_BWL: Any,
    ddelta_BWL: Any,
    dz_BWL: Any,
    dA_BWN: Any,
    dB_KBLN: Any,
    dC_KBLN: Any,
    dD_BW: Any,
    dbias_BW: Any,
    dinitial_BWN: Any,
) -> None:
    """Tasks `first` to `last` - 1 of the backward pass, from the last chunk to the first.

    The states inside a chunk are recomputed from the one that was saved before it. Each task writes its own slice of
    the gradients of A, D, bias, B and C; the caller sums them over batch or blocks.
    """
    width, length, states = u_BWL.shape[1], u_BWL.shape[2], A_WN.shape[1]
    blocks = (width + LANES - 1) // LANES
    h_TNW, decay_TNW = np.zeros((CHUNK + 1, states, LANES), np.float32), np.zeros((CHUNK, states, LANES), np.float32)
    tiles = np.zeros((11, CHUNK, LANES), np.float32)
    u_TW, raw_TW, delta_TW, z_TW, du_TW, dy_TW = tiles[0], tiles[1], tiles[2], tiles[3], tiles[4], tiles[5]
    dz_TW, gu_TW, y_TW, ddelta_TW, ddu_TW = tiles[6], tiles[7], tiles[8], tiles[9], tiles[10]
    states_XNW = np.zeros((5, states, LANES), np.float32)
    h_NW, g_NW, A_NW, rate_NW, dA_NW = states_XNW[0], states_XNW[1], states_XNW[2], states_XNW[3], states_XNW[4]
    projections = np.zeros((2, CHUNK, states), np.float32)
    B_TN, C_TN = projections[0], projections[1]
    lines = np.zeros((4, LANES), np.float32)
    own_D_W, own_bias_W, dD_W, dbias_W = lines[0], lines[1], lines[2], lines[3]
    for task in range(first, last):
        b, k = task // blocks, task % blocks
        w0 = k * LANES
        lanes = min(LANES, width - w0)
        clear(tiles)
        clear(states_XNW)
        read_line(own_D_W, D_W, w0, lanes)
        read_line(own_bias_W, bias_W, w0, lanes)
        read_line(dD_W, D_W, w0, 0)
        read_line(dbias_W, D_W, w0, 0)
        read_channels(g_NW, dlast_BWN[b], w0, lanes)
        read_rates(A_NW, rate_NW, A_WN, w0, lanes)
        chunks = (length + CHUNK - 1) // CHUNK
        for reverse in range(chunks):
            s = chunks - 1 - reverse
            t0 = s * CHUNK
            steps = min(CHUNK, length - t0)
            read_tile(u_TW, u_BWL, b, w0, lanes, t0, steps)
            read_tile(raw_TW, delta_BWL, b, w0, lanes, t0, steps)
            read_tile(dy_TW, dout_BWL, b, w0, lanes, t0, steps)
            read_steps(B_TN, B_BNL, b, t0, steps)
            read_steps(C_TN, C_BNL, b, t0, steps)
            copy(delta_TW, raw_TW)  # raw delta is needed once more, for the gradient of softplus
            compute_steps(delta_TW, du_TW, u_TW, own_bias_W, with_softplus, steps)
            clear(tiles[8:])
            # the states of this chunk, from the state before it
            copy(h_NW, saved_BKSNW[b, k, s])
            scan_tile_saving(h_TNW, decay_TNW, h_NW, y_TW, rate_NW, delta_TW, du_TW, B_TN, C_TN, steps)
            if with_gate:
                read_tile(z_TW, z_BWL, b, w0, lanes, t0, steps)
                gate_backward(dy_TW, dz_TW, y_TW, z_TW, u_TW, own_D_W, steps)
                write_tile(dz_BWL, dz_TW, b, w0, lanes, t0, steps)
            dB_TN, dC_TN = dB_KBLN[k, b, t0 : t0 + steps], dC_KBLN[k, b, t0 : t0 + steps]
            # g_t = exp(d_{t+1} A) g_{t+1} + C_t dy_t; g_NW links this chunk to the one before it
            scan_tile_backward(
                g_NW, dA_NW, ddelta_TW, ddu_TW, dB_TN, dC_TN,
                h_TNW, decay_TNW, A_NW, delta_TW, du_TW, dy_TW, B_TN, C_TN, steps,
            )  # fmt: skip
            input_gradients(
                gu_TW, ddelta_TW, dD_W, dbias_W,
                ddu_TW, dy_TW, u_TW, delta_TW, raw_TW, own_D_W, own_bias_W, with_softplus, steps,
            )  # fmt: skip
            write_tile(du_BWL, gu_TW, b, w0, lanes, t0, steps)
            write_tile(ddelta_BWL, ddelta_TW, b, w0, lanes, t0, steps)
        write_channels(dA_BWN[b], dA_NW, w0, lanes)
        write_channels(dinitial_BWN[b], g_NW, w0, lanes)
        write_line(dD_BW[b], dD_W, w0, lanes)
        write_line(dbias_BW[b], dbias_W, w0, lanes)
