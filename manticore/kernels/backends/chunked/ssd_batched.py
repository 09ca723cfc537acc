"""The scan of Mamba-2 in matrix form with all chunks in one batch, for devices on which each call has its own cost.

The chunks are those of `ssd`, but the states between them do not follow one another. With the sum T_i of the log decays
of the first i chunks, the state before chunk i is sum_{j <= i} exp(T_i - T_j) source_j, where source 0 is the first
state and source j what chunk j - 1 adds: one matrix product for all chunks. Source: Dao and Gu 2024
(https://arxiv.org/abs/2405.21060), listing 1.

The number of calls does not depend on the length. Memory for C chunks grows with C squared, a number for each head and
pair of chunks, and with the length times the steps of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manticore.kernels.backends.chunked.ssd import (
    attention_weights,
    by_group,
    by_head,
    chunk_gradients,
    chunk_terms,
    decay_over_chunk,
    decayed_gradients,
    no_autocast,
    running_sums,
    scan_with,
)
from manticore.kernels.ops import SsdArgs

CHUNK, MIN_CHUNK, MAX_CHUNK = 128, 64, 256
"""Default steps of a chunk: the largest multiple of 8 in this range that divides the length, which needs no padding.
For each step and head, memory is as many numbers as a chunk has steps for pairs of steps, and states * head_dim divided
by that for the states between chunks."""


def default_chunk(length: int) -> int:
    """Steps of a chunk for sequences of `length` steps."""
    divisors = [size for size in range(MAX_CHUNK, MIN_CHUNK - 1, -8) if length % size == 0]
    return next(iter(divisors), min(CHUNK, length))


def _to_chunks(x_BLX: Tensor, size: int) -> Tensor:
    """(batch, length, ...) -> (batch * chunks, size, ...); steps beyond the length are 0."""
    missing = -x_BLX.shape[1] % size
    if missing:
        x_BLX = F.pad(x_BLX, (0, 0) * (x_BLX.ndim - 2) + (0, missing))
    return x_BLX.reshape(-1, size, *x_BLX.shape[2:])


def _to_length(x_CSX: Tensor, batch: int, length: int) -> Tensor:
    """The inverse of `_to_chunks`."""
    return x_CSX.reshape(batch, -1, *x_CSX.shape[2:])[:, :length]


def _decays_between(totals_CH: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
    """exp(T_i - T_j) as (batch, head, i, j), 0 for j > i, for the chunks i and j and the state after the last."""
    sums_BHC = F.pad(running_sums(totals_CH.unflatten(0, (batch, -1))), (0, 0, 1, 0)).mT
    between = sums_BHC[..., :, None] - sums_BHC[..., None, :]
    decays: Tensor = between.to(dtype).exp_().tril_()
    return decays


def _combine(weights_BHij: Tensor, x_BjGNX: Tensor) -> Tensor:
    """sum_j weights_ij x_j for states (batch, j, group, state, head * head_dim)."""
    batch, _, groups, states, _ = x_BjGNX.shape
    heads = weights_BHij.shape[1]
    x_BjGNRP: Tensor = x_BjGNX.unflatten(4, (heads // groups, -1))
    x_BHjX = x_BjGNRP.permute(0, 2, 4, 1, 3, 5).reshape(batch, heads, x_BjGNX.shape[1], -1)
    out_BHiX = weights_BHij @ x_BHjX
    out = out_BHiX.reshape(batch, groups, heads // groups, out_BHiX.shape[2], states, -1)
    out_BiGNX: Tensor = out.permute(0, 3, 1, 4, 2, 5).flatten(4)
    return out_BiGNX


class _BatchedScan(torch.autograd.Function):
    """As `ssd._Scan`, in another order."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h_BGNX: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        (batch, length, heads, _), groups = x.shape, B.shape[2]
        with no_autocast(x):
            x_CSHP, dt_CSH, B_C, C_C = (_to_chunks(v, size) for v in (x, dt, B, C))
            terms = chunk_terms(x_CSHP, dt_CSH, A, B_C, C_C)
            u_CSHP, B_CGSN, C_CGTN, decay_CGRTS, from_start_CTH, to_end_CSH, totals_CH = terms
            added_CGNX = B_CGSN.mT @ by_group(u_CSHP * to_end_CSH[..., None], groups)
            sources = torch.cat([h_BGNX[:, None], added_CGNX.unflatten(0, (batch, -1))], dim=1)
            states = _combine(_decays_between(totals_CH, batch, dt.dtype), sources)
            states_CGNX, last_BGNX = states[:, :-1].flatten(0, 1), states[:, -1]
            weights_CHTS = attention_weights(C_CGTN @ B_CGSN.mT, decay_CGRTS)
            inside_CTHP = (weights_CHTS @ u_CSHP.transpose(1, 2)).transpose(1, 2)
            before_CTHP = by_head(C_CGTN @ states_CGNX, heads)
            y_CTHP = torch.addcmul(inside_CTHP, before_CTHP, from_start_CTH[..., None])
            if D is not None:
                y_CTHP.addcmul_(x_CSHP, D)
        ctx.save_for_backward(x, dt, A, B, C, D, states_CGNX)
        ctx.size = size
        ctx.set_materialize_grads(False)
        return _to_length(y_CTHP, batch, length), last_BGNX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast_BGNX: Tensor | None) -> tuple[Any, ...]:
        x, dt, A, B, C, D, states_CGNX = ctx.saved_tensors
        batch, length = x.shape[:2]
        dy = torch.zeros_like(x, dtype=dt.dtype) if dy is None else dy
        with no_autocast(x):
            x_CSHP, dt_CSH, B_C, C_C, dy_CTHP = (_to_chunks(v, ctx.size) for v in (x, dt, B, C, dy))
            terms = chunk_terms(x_CSHP, dt_CSH, A, B_C, C_C)
            C_CGTN, from_start_CTH, totals_CH = terms[2], terms[4], terms[6]
            dy_decayed_CGTX = decayed_gradients(terms, dy_CTHP)
            read_CGNX = C_CGTN.mT @ dy_decayed_CGTX
            gradients = F.pad(read_CGNX.unflatten(0, (batch, -1)), (0, 0) * 3 + (0, 1))
            if dlast_BGNX is not None:
                gradients[:, -1] = dlast_BGNX
            dsources = _combine(_decays_between(totals_CH, batch, dt.dtype).mT, gradients)
            dh_CGNX = dsources[:, 1:].flatten(0, 1)
            decayed = (dy_decayed_CGTX, decay_over_chunk(dh_CGNX, from_start_CTH))
            inputs = (x_CSHP, dt_CSH, A, D, states_CGNX, dh_CGNX, dy_CTHP, *decayed)
            *by_step, dA, dD = chunk_gradients(terms, *inputs)
        pairs = zip(by_step, (x, dt, B, C), strict=True)
        dx, ddt, dB, dC = (_to_length(g, batch, length).to(v.dtype) for g, v in pairs)
        return dx, ddt, dA.to(A.dtype), dB, dC, dD, dsources[:, 0], None


def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.ssd_scan`; differentiable once. A NaN spreads to all steps of its sequence, earlier ones too."""
    return scan_with(_BatchedScan.apply, args, args.chunk_size or default_chunk(args.x.shape[1]))
