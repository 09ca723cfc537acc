"""The loops of the causal convolution in numba, forward and backward, for one core.

The axis that is adjacent in memory, time or channels, is processed in lines, each as one vector: a line of channels has
a weight for each number, a line of time one weight for all. Only windows inside the sequence are computed, so outputs
start at step kernel - 1.

Tensors are flat memory with strides. A task is one tile of one sequence, and a call runs a range of tasks. Importing
this file compiles it, or loads it from numba's cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from manticore.kernels.backends.cpu.tiles import BOOL, F1, F2, F3, INT, REORDER, compiled, sigmoid

SIZES = numba.types.UniTuple(INT, 3)
U = np.uint64  # an unsigned index needs no test for counting from the end, which would prevent vectorization


@compiled((BOOL,))
def tile_size(along_time: Any) -> Any:
    """Channels and steps of a tile: one line of time, or several lines of channels."""
    return (1, 2048) if along_time else (512, 32)


@compiled((SIZES, BOOL))
def grid(shape: Any, along_time: Any) -> Any:
    """Number of tiles along the channels, and along the steps."""
    channels, steps = tile_size(along_time)
    return (shape[1] + channels - 1) // channels, (shape[2] + steps - 1) // steps


@compiled((F1, INT, F2, F1, INT, F1, INT, INT, INT, BOOL))
def correlate(
    out: Any, at: Any, weight_KW: Any, bias_W: Any, w0: Any, x: Any, start: Any, step: Any, n: Any, along_time: Any
) -> None:
    """out[at + i] = bias + sum over k of weight_k x[start + k step + i], for the n numbers of a line."""
    for i in range(n):
        out[U(at + i)] = bias_W[U(w0)] if along_time else bias_W[U(w0 + i)]
    for k in range(weight_KW.shape[0]):
        offset = start + k * step
        if along_time:
            weight = weight_KW[k, w0]
            for i in range(n):
                out[U(at + i)] += weight * x[U(offset + i)]
        else:
            for i in range(n):
                out[U(at + i)] += weight_KW[U(k), U(w0 + i)] * x[U(offset + i)]


@compiled((F2, INT, F1, INT, F1, INT, INT, INT, BOOL), fastmath=REORDER)
def add_weight_gradient(
    sums_KW: Any, w0: Any, g: Any, at: Any, x: Any, start: Any, step: Any, n: Any, along_time: Any
) -> None:
    """Add the contribution of a line to the gradients in `sums_KW`: a row for each weight, the last for the bias."""
    kernel = sums_KW.shape[0] - 1
    for k in range(kernel):
        offset = start + k * step
        if along_time:
            total = np.float32(0.0)
            for i in range(n):
                total += g[U(at + i)] * x[U(offset + i)]
            sums_KW[k, w0] += total
        else:
            for i in range(n):
                sums_KW[U(k), U(w0 + i)] += g[U(at + i)] * x[U(offset + i)]
    if along_time:
        total = np.float32(0.0)
        for i in range(n):
            total += g[U(at + i)]
        sums_KW[kernel, w0] += total
    else:
        for i in range(n):
            sums_KW[U(kernel), U(w0 + i)] += g[U(at + i)]


@compiled((F1, INT, INT))
def silu(y: Any, at: Any, n: Any) -> None:
    """Apply SiLU to a line in place."""
    for i in range(n):
        y[U(at + i)] *= sigmoid(y[U(at + i)])


@compiled((F1, INT, F1, INT, F1, INT))
def silu_backward(g: Any, at: Any, dy: Any, dy_at: Any, pre: Any, n: Any) -> None:
    """The gradient of a line of `pre`, from the gradient `dy` of silu(pre)."""
    for i in range(n):
        s = sigmoid(pre[i])
        g[U(at + i)] = dy[U(dy_at + i)] * s * (np.float32(1.0) + pre[i] * (np.float32(1.0) - s))


@compiled((INT, INT, BOOL, SIZES, F2, F1, BOOL, F1, SIZES, F1, SIZES))
def forward(
    first: Any,
    last: Any,
    along_time: Any,
    shape: Any,
    weight_KW: Any,
    bias_W: Any,
    with_silu: Any,
    x: Any,
    x_strides: Any,
    y: Any,
    y_strides: Any,
) -> None:
    """Tasks `first` to `last` - 1 of the convolution, from step kernel - 1 on; `shape` is (batch, width, length)."""
    ahead = weight_KW.shape[0] - 1
    channels, steps = tile_size(along_time)
    blocks, chunks = grid(shape, along_time)
    for task in range(first, last):
        b, s, k = task // (chunks * blocks), task // blocks % chunks, task % blocks
        w0, t0 = k * channels, max(s * steps, ahead)
        lanes, end = min(channels, shape[1] - w0), min((s + 1) * steps, shape[2])
        for t in range(t0, end, steps if along_time else 1):
            n = end - t if along_time else lanes
            source = b * x_strides[0] + w0 * x_strides[1] + (t - ahead) * x_strides[2]
            at = b * y_strides[0] + w0 * y_strides[1] + t * y_strides[2]
            correlate(y, at, weight_KW, bias_W, w0, x, source, x_strides[2], n, along_time)
            if with_silu:
                silu(y, at, n)


@compiled((INT, INT, BOOL, SIZES, F2, F1, BOOL, F1, SIZES, F1, SIZES, F1, SIZES, F3))
def backward(
    first: Any,
    last: Any,
    along_time: Any,
    shape: Any,
    weight_KW: Any,
    bias_W: Any,
    with_silu: Any,
    x: Any,
    x_strides: Any,
    dy: Any,
    dy_strides: Any,
    dx: Any,
    dx_strides: Any,
    sums_PKW: Any,
) -> None:
    """Tasks `first` to `last` - 1 of the backward pass.

    `dx_t = sum_k weight_k g_{t + kernel - 1 - k}` with the gradient g before the SiLU, so a tile needs g of the next
    kernel - 1 steps too, which its neighbour computes again.

    `sums_PKW` has one part P for each sequence and chunk of steps, with a row K for each weight and one for the bias.
    Each task writes its own channels, and the caller sums over P.
    """
    kernel = weight_KW.shape[0]
    ahead = kernel - 1
    channels, steps = tile_size(along_time)
    blocks, chunks = grid(shape, along_time)
    flipped_KW, zero_W = weight_KW[::-1].copy(), np.zeros_like(bias_W)
    g, pre = np.zeros((steps + ahead) * channels, np.float32), np.zeros(max(steps + ahead, channels), np.float32)
    for task in range(first, last):
        b, s, k = task // (chunks * blocks), task // blocks % chunks, task % blocks
        w0, t0 = k * channels, s * steps
        lanes, end = min(channels, shape[1] - w0), min(t0 + steps, shape[2])
        stride = steps + ahead if along_time else 1
        sums_KW = sums_PKW[b * chunks + s]
        sums_KW[:, w0 : w0 + lanes] = np.float32(0.0)
        g[:] = np.float32(0.0)
        stop = min(t0 + steps + ahead, shape[2])
        for t in range(max(t0, ahead), stop, stride):
            n = stop - t if along_time else lanes
            offset = (t - t0) * channels
            dy_at = b * dy_strides[0] + w0 * dy_strides[1] + t * dy_strides[2]
            source = b * x_strides[0] + w0 * x_strides[1] + (t - ahead) * x_strides[2]
            if with_silu:
                correlate(pre, 0, weight_KW, bias_W, w0, x, source, x_strides[2], n, along_time)
                silu_backward(g, offset, dy, dy_at, pre, n)
            else:
                g[offset : offset + n] = dy[dy_at : dy_at + n]
            if t < end:
                own = end - t if along_time else lanes
                add_weight_gradient(sums_KW, w0, g, offset, x, source, x_strides[2], own, along_time)
        for t in range(t0, end, stride):
            n = end - t if along_time else lanes
            dx_at = b * dx_strides[0] + w0 * dx_strides[1] + t * dx_strides[2]
            offset = (t - t0) * channels
            correlate(dx, dx_at, flipped_KW, zero_W, w0, g, offset, channels, n, along_time)
