"""The scan of Mamba-2 in matrix form, as one autograd node.

Source: Dao and Gu 2024 (https://arxiv.org/abs/2405.21060), section 6.

With the sums s_t = sum_{r <= t} dt_r A over the steps of a chunk, the inputs u_t = dt_t x_t and the state h before it::

    y_t = sum_{r <= t} (C_t . B_r) exp(s_t - s_r) u_r + exp(s_t) h C_t
    h' = exp(s_T) h + sum_r exp(s_T - s_r) u_r B_r^T

The first is causal attention with decay, so a chunk is a few matrix products, and the state links one chunk to the
next. The forward pass saves the state before each chunk, and the backward pass recomputes the rest. The last chunk may
be shorter.

A state has the layout (batch, group, state, head * head_dim), so that one matrix product serves all heads that share B
and C. The sums s and their gradients are in double precision: a difference of two sums would otherwise lose the steps
between them where many came before.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manticore.kernels.backends.plain.ssd import step_sizes
from manticore.kernels.ops import SsdArgs

CHUNK = 64
"""Default steps of a chunk. At 64 and 128 states on a CPU, 32 and 128 steps are no faster."""


def _chunk_terms(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """The terms of a chunk of S steps, in the precision of `dt` and `A`. T is a second axis over the same steps.

    Returns:
        u_BSHP = dt x; B_BGSN; C_BGTN; decay_BGRTS = exp(s_t - s_s) for the R heads of a group, 0 for s > t;
        from_start_BTH = exp(s_t), the decay of the state before the chunk; to_end_BSH = exp(s_T - s_s), the decay of a
        step's input until the end of the chunk.
    """
    size, groups = x.shape[1], B.shape[2]
    sums_BSH = (dt.double() * A.double()).cumsum(1)
    sums_BGRS = sums_BSH.mT.unflatten(1, (groups, -1))
    between = (sums_BGRS[..., :, None] - sums_BGRS[..., None, :]).to(dt.dtype)
    later = torch.full((size, size), -math.inf, dtype=dt.dtype, device=dt.device).triu_(1)
    from_start, to_end = (v.to(dt.dtype).exp_() for v in (sums_BSH, sums_BSH[:, -1:] - sums_BSH))
    u, B, C = x.to(dt.dtype) * dt[..., None], B.to(dt.dtype).transpose(1, 2), C.to(dt.dtype).transpose(1, 2)
    return u, B, C, between.add_(later).exp_(), from_start, to_end


def _by_group(x_BSHP: Tensor, groups: int) -> Tensor:
    """(batch, step, head, head_dim) -> (batch, group, step, head * head_dim) with the heads of the group."""
    size = (*x_BSHP.shape[:2], groups, -1)
    return x_BSHP.reshape(size).transpose(1, 2)


def _by_head(x_BGSX: Tensor, heads: int) -> Tensor:
    """The inverse of `_by_group`."""
    size = (x_BGSX.shape[0], x_BGSX.shape[2], heads, -1)
    return x_BGSX.transpose(1, 2).reshape(size)


def _attention_weights(scores_BGTS: Tensor, decay_BGRTS: Tensor) -> Tensor:
    """The weights (batch, head, T, S) of input S in output T: (C_t . B_s) exp(s_t - s_s)."""
    return (scores_BGTS[:, :, None] * decay_BGRTS).flatten(1, 2)


def _decay_over_chunk(h_BGNX: Tensor, from_start_BTH: Tensor) -> Tensor:
    """exp(s_T) h: a state after the chunk without its inputs, or the gradient of a state before the chunk."""
    batch, groups, states, _ = h_BGNX.shape
    decay_BGR = from_start_BTH[:, -1].reshape(batch, groups, -1)
    h_BGNRP = h_BGNX.reshape(batch, groups, states, decay_BGR.shape[2], -1)
    return (h_BGNRP * decay_BGR[:, :, None, :, None]).flatten(3)


def _add_product(to_BGXY: Tensor, x_BGXZ: Tensor, y_BGZY: Tensor) -> Tensor:
    """to + x @ y, written to `to`."""
    to_BGXY.flatten(0, 1).baddbmm_(x_BGXZ.flatten(0, 1), y_BGZY.flatten(0, 1))
    return to_BGXY


class _Scan(torch.autograd.Function):
    """The scan from step sizes to the ungated output; `D` is (heads, head_dim or 1)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h_BGNX: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        heads, groups = x.shape[2], B.shape[2]
        y, saved_states = torch.empty_like(x, dtype=dt.dtype), []
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, x.shape[1], size):
                chunk = slice(start, start + size)
                saved_states.append(h_BGNX)
                terms = _chunk_terms(x[:, chunk], dt[:, chunk], A, B[:, chunk], C[:, chunk])
                u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, from_start_BTH, to_end_BSH = terms
                weights_BHTS = _attention_weights(C_BGTN @ B_BGSN.mT, decay_BGRTS)
                inside_BTHP = (weights_BHTS @ u_BSHP.transpose(1, 2)).transpose(1, 2)
                before_BTHP = _by_head(C_BGTN @ h_BGNX, heads)
                torch.addcmul(inside_BTHP, before_BTHP, from_start_BTH[..., None], out=y[:, chunk])
                if D is not None:
                    y[:, chunk].addcmul_(x[:, chunk], D)
                decayed_BGSX = _by_group(u_BSHP * to_end_BSH[..., None], groups)
                h_BGNX = _add_product(_decay_over_chunk(h_BGNX, from_start_BTH), B_BGSN.mT, decayed_BGSX)
        ctx.save_for_backward(x, dt, A, B, C, D, *saved_states)
        ctx.size = size
        return y, h_BGNX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh_BGNX: Tensor) -> tuple[Any, ...]:
        x, dt, A, B, C, D, *saved_states = ctx.saved_tensors
        heads, groups = x.shape[2], B.shape[2]
        dx, ddt = torch.empty_like(x), torch.empty_like(dt)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        dD = None if D is None else torch.zeros_like(D)
        dA = torch.zeros_like(A, dtype=torch.float64)
        with torch.autocast(x.device.type, enabled=False):
            for start in reversed(range(0, x.shape[1], ctx.size)):
                chunk, h_BGNX = slice(start, start + ctx.size), saved_states.pop()
                terms = _chunk_terms(x[:, chunk], dt[:, chunk], A, B[:, chunk], C[:, chunk])
                u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, from_start_BTH, to_end_BSH = terms
                dy_BTHP = dy[:, chunk]
                u_BHSP, dy_BHTP = (v.transpose(1, 2).contiguous() for v in (u_BSHP, dy_BTHP))
                dy_decayed_BGTX = _by_group(dy_BTHP * from_start_BTH[..., None], groups)
                u_decayed_BGSX = _by_group(u_BSHP * to_end_BSH[..., None], groups)
                dh_decayed_BGNX = _decay_over_chunk(dh_BGNX, from_start_BTH)

                # du: through the outputs of the chunk, and through the state after it.
                scores_BGTS = C_BGTN @ B_BGSN.mT
                du_BSHP = (_attention_weights(scores_BGTS, decay_BGRTS).mT @ dy_BHTP).transpose(1, 2)
                after_BSHP, before_BTHP = _by_head(B_BGSN @ dh_BGNX, heads), _by_head(C_BGTN @ h_BGNX, heads)
                du_BSHP = torch.addcmul(du_BSHP, after_BSHP, to_end_BSH[..., None])
                dscores_BGRTS = (dy_BHTP @ u_BHSP.mT).unflatten(1, (groups, -1)).mul_(decay_BGRTS)
                dscores_BGTS = dscores_BGRTS.sum(2)
                dC[:, chunk] = (dy_decayed_BGTX @ h_BGNX.mT + dscores_BGTS @ B_BGSN).transpose(1, 2)
                dB[:, chunk] = (u_decayed_BGSX @ dh_BGNX.mT + dscores_BGTS.mT @ C_BGTN).transpose(1, 2)

                # Gradients of the sums s. The term of exp(s_t - s_r) counts for s_t and against s_r, that of exp(s_t)
                # for s_t, and that of exp(s_T - s_r) for s_T and against s_r. s_T also scales the state.
                from_start_grad_BTH = from_start_BTH * (dy_BTHP * before_BTHP).sum(-1)
                to_end_grad_BSH = to_end_BSH * (u_BSHP * after_BSHP).sum(-1)
                pairs_BHTS = dscores_BGRTS.mul_(scores_BGTS[:, :, None]).flatten(1, 2)
                inside_BHS = pairs_BHTS.sum(-1, dtype=torch.float64) - pairs_BHTS.sum(-2, dtype=torch.float64)
                dsums_BSH = inside_BHS.mT + from_start_grad_BTH.double() - to_end_grad_BSH.double()
                state_grad_BGX = (dh_decayed_BGNX * h_BGNX).sum(2)
                state_grad_BH = state_grad_BGX.flatten(1).unflatten(1, (heads, -1)).sum(-1)
                dsums_BSH[:, -1] += to_end_grad_BSH.double().sum(1) + state_grad_BH
                dsteps_BSH = dsums_BSH.flip(1).cumsum(1).flip(1)  # s_t contains the steps up to t

                dA += (dsteps_BSH * dt[:, chunk]).sum((0, 1))
                ddt[:, chunk] = dsteps_BSH * A + (du_BSHP * x[:, chunk]).sum(-1)
                dx_BSHP = du_BSHP * dt[:, chunk, :, None]
                if D is not None:
                    dx_BSHP.addcmul_(dy_BTHP, D)
                    dD += (dy_BTHP * x[:, chunk]).sum((0, 1)).sum_to_size(D.shape)
                dx[:, chunk] = dx_BSHP
                dh_BGNX = _add_product(dh_decayed_BGNX, C_BGTN.mT, dy_decayed_BGTX)
        return dx, ddt, dA.to(A.dtype), dB, dC, dD, dh_BGNX, None


_apply: Any = _Scan.apply


def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.ssd_scan`; differentiable once. A NaN in a step spreads to all steps of its chunk, earlier ones too."""
    x, z, D = args.x, args.z, args.D
    wide = torch.promote_types(x.dtype, torch.float32)
    (batch, _, heads, head_dim), (groups, states) = x.shape, args.B.shape[2:]
    dt_BLH = step_sizes(args.dt.to(wide), args.dt_bias, args.dt_softplus, args.dt_limit)
    if args.initial_states is None:
        h_BGNX = x.new_zeros(batch, groups, states, heads // groups * head_dim, dtype=wide)
    else:
        h_BGNX = args.initial_states.to(wide).reshape(batch, groups, -1, states).mT
    D = None if D is None else D.to(wide).reshape(heads, -1)
    y, h_BGNX = _apply(x, dt_BLH, args.A.to(wide), args.B, args.C, D, h_BGNX, args.chunk_size or CHUNK)
    if z is not None:
        y = y * F.silu(z.to(wide))
    y = y.to(x.dtype)
    return (y, h_BGNX.mT.reshape(batch, heads, head_dim, states)) if args.return_final_states else y
