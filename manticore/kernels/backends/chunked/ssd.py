"""Mamba-2's scan in matrix form, one chunk of the sequence after the other, as one autograd node.

Inside a chunk outputs are a decaying attention over the chunk's inputs; all that came before enters through the state,
which each chunk hands to the next. Only the state before each chunk is kept for the backward pass; the rest is computed
again. No sequence is padded: the last chunk is merely shorter.

A state lies as (batch, group, state, head * head_dim), so that one matrix product serves all heads that share B and C.
Every decay is the exponential of a difference of sums of steps, taken in double precision: what lies between two times
is not lost beside what came before them. Gradients of those sums are differences too, and are treated alike.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manticore.kernels.backends.plain.ssd import step_sizes

CHUNK = 64
"""Steps in a chunk: of 32, 64 and 128 the fastest on a CPU at 64 and 128 states, or as good as."""


def _cut(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """What a chunk of S steps (T where they meet themselves) is made of, in the precision of `dt` and `A`.

    u_BSHP, step size times input; B_BGSN and C_BGTN; decay_BGRTS, what is left at T of step S, 0 where S is later, for
    R heads in a group; reach_BTH, what is left at T of the state before the chunk; rest_BSH, of step S after the
    """
    size, groups = x.shape[1], B.shape[2]
    sums_BSH = (dt.double() * A.double()).cumsum(1)
    sums_BGRS = sums_BSH.mT.unflatten(1, (groups, -1))
    between = (sums_BGRS[..., :, None] - sums_BGRS[..., None, :]).to(dt.dtype)
    later = torch.full((size, size), -math.inf, dtype=dt.dtype, device=dt.device).triu_(1)
    reach, rest = (v.to(dt.dtype).exp_() for v in (sums_BSH, sums_BSH[:, -1:] - sums_BSH))
    u, B, C = x.to(dt.dtype) * dt[..., None], B.to(dt.dtype).transpose(1, 2), C.to(dt.dtype).transpose(1, 2)
    return u, B, C, between.add_(later).exp_(), reach, rest


def _by_group(x_BSHP: Tensor, groups: int) -> Tensor:
    """(batch, group, step, head * head_dim), the heads of the group."""
    size = (*x_BSHP.shape[:2], groups, -1)
    return x_BSHP.reshape(size).transpose(1, 2)


def _by_head(x_BGSX: Tensor, heads: int) -> Tensor:
    """`_by_group` undone."""
    size = (x_BGSX.shape[0], x_BGSX.shape[2], heads, -1)
    return x_BGSX.transpose(1, 2).reshape(size)


def _paired(scores_BGTS: Tensor, decay_BGRTS: Tensor) -> Tensor:
    """For every head how much of input S is in output T."""
    return (scores_BGTS[:, :, None] * decay_BGRTS).flatten(1, 2)


def _kept(h_BGNX: Tensor, reach_BTH: Tensor) -> Tensor:
    """What is left of a state after a chunk; of a state's gradient before it."""
    batch, groups, states, _ = h_BGNX.shape
    left_BGR = reach_BTH[:, -1].reshape(batch, groups, -1)
    h_BGNRP = h_BGNX.reshape(batch, groups, states, left_BGR.shape[2], -1)
    return (h_BGNRP * left_BGR[:, :, None, :, None]).flatten(3)


def _add_product(to_BGXY: Tensor, x_BGXZ: Tensor, y_BGZY: Tensor) -> Tensor:
    """to + x @ y, over what `to` held."""
    to_BGXY.flatten(0, 1).baddbmm_(x_BGXZ.flatten(0, 1), y_BGZY.flatten(0, 1))
    return to_BGXY


class _Scan(torch.autograd.Function):
    """From step sizes on and up to the gate; `D` (heads, head_dim or 1), the state in the layout above."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h_BGNX: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        heads, groups = x.shape[2], B.shape[2]
        y, kept = torch.empty_like(x, dtype=dt.dtype), []
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, x.shape[1], size):
                here = slice(start, start + size)
                kept.append(h_BGNX)
                cut = _cut(x[:, here], dt[:, here], A, B[:, here], C[:, here])
                u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, reach_BTH, rest_BSH = cut
                pairs_BHTS = _paired(C_BGTN @ B_BGSN.mT, decay_BGRTS)
                inside_BTHP = (pairs_BHTS @ u_BSHP.transpose(1, 2)).transpose(1, 2)
                before_BTHP = _by_head(C_BGTN @ h_BGNX, heads)
                torch.addcmul(inside_BTHP, before_BTHP, reach_BTH[..., None], out=y[:, here])
                if D is not None:
                    y[:, here].addcmul_(x[:, here], D)
                left_BGSX = _by_group(u_BSHP * rest_BSH[..., None], groups)
                h_BGNX = _add_product(_kept(h_BGNX, reach_BTH), B_BGSN.mT, left_BGSX)
        ctx.save_for_backward(x, dt, A, B, C, D, *kept)
        ctx.size = size
        return y, h_BGNX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh_BGNX: Tensor) -> tuple[Any, ...]:
        x, dt, A, B, C, D, *kept = ctx.saved_tensors
        heads, groups = x.shape[2], B.shape[2]
        dx, ddt = torch.empty_like(x), torch.empty_like(dt)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        dD = None if D is None else torch.zeros_like(D)
        dA = torch.zeros_like(A, dtype=torch.float64)
        with torch.autocast(x.device.type, enabled=False):
            for start in reversed(range(0, x.shape[1], ctx.size)):
                here, h_BGNX = slice(start, start + ctx.size), kept.pop()
                cut = _cut(x[:, here], dt[:, here], A, B[:, here], C[:, here])
                u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, reach_BTH, rest_BSH = cut
                dy_BTHP = dy[:, here]
                u_BHSP, dy_BHTP = (v.transpose(1, 2).contiguous() for v in (u_BSHP, dy_BTHP))
                reached_BGTX = _by_group(dy_BTHP * reach_BTH[..., None], groups)
                left_BGSX = _by_group(u_BSHP * rest_BSH[..., None], groups)
                left_BGNX = _kept(dh_BGNX, reach_BTH)

                scores_BGTS = C_BGTN @ B_BGSN.mT
                du_BSHP = (_paired(scores_BGTS, decay_BGRTS).mT @ dy_BHTP).transpose(1, 2)
                after_BSHP, before_BTHP = _by_head(B_BGSN @ dh_BGNX, heads), _by_head(C_BGTN @ h_BGNX, heads)
                ends_BSH = rest_BSH * (u_BSHP * after_BSHP).sum(-1)
                starts_BTH = reach_BTH * (dy_BTHP * before_BTHP).sum(-1)
                du_BSHP = torch.addcmul(du_BSHP, after_BSHP, rest_BSH[..., None])
                dscores_BGRTS = (dy_BHTP @ u_BHSP.mT).unflatten(1, (groups, -1)).mul_(decay_BGRTS)
                dscores_BGTS = dscores_BGRTS.sum(2)
                dC[:, here] = (reached_BGTX @ h_BGNX.mT + dscores_BGTS @ B_BGSN).transpose(1, 2)
                dB[:, here] = (left_BGSX @ dh_BGNX.mT + dscores_BGTS.mT @ C_BGTN).transpose(1, 2)

                # A sum of steps gains by what arrives at its end, loses by what departs from it. The last one gains by
                # all that leaves the
                pairs_BHTS = dscores_BGRTS.mul_(scores_BGTS[:, :, None]).flatten(1, 2)
                inside_BHS = pairs_BHTS.sum(-1, dtype=torch.float64) - pairs_BHTS.sum(-2, dtype=torch.float64)
                dsums_BSH = inside_BHS.mT + starts_BTH.double() - ends_BSH.double()
                through_BGX = (left_BGNX * h_BGNX).sum(2)
                through_BH = through_BGX.flatten(1).unflatten(1, (heads, -1)).sum(-1)
                dsums_BSH[:, -1] += ends_BSH.double().sum(1) + through_BH
                dsteps_BSH = dsums_BSH.flip(1).cumsum(1).flip(1)

                dA += (dsteps_BSH * dt[:, here]).sum((0, 1))
                ddt[:, here] = dsteps_BSH * A + (du_BSHP * x[:, here]).sum(-1)
                dx_BSHP = du_BSHP * dt[:, here, :, None]
                if D is not None:
                    dx_BSHP.addcmul_(dy_BTHP, D)
                    dD += (dy_BTHP * x[:, here]).sum((0, 1)).sum_to_size(D.shape)
                dx[:, here] = dx_BSHP
                dh_BGNX = _add_product(left_BGNX, C_BGTN.mT, reached_BGTX)
        return dx, ddt, dA.to(A.dtype), dB, dC, dD, dh_BGNX, None


_apply: Any = _Scan.apply


def ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    return_final_states: bool = False,
    chunk_size: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.ssd_scan`, by the matrix form of Dao and Gu 2024 (https://arxiv.org/abs/2405.21060, section 6).

    Once differentiable. A NaN in a step spreads to the whole of its chunk, earlier steps too.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    (batch, _, heads, head_dim), (groups, states) = x.shape, B.shape[2:]
    dt_BLH = step_sizes(dt.to(wide), dt_bias, dt_softplus, dt_limit)
    if initial_states is None:
        h_BGNX = x.new_zeros(batch, groups, states, heads // groups * head_dim, dtype=wide)
    else:
        h_BGNX = initial_states.to(wide).reshape(batch, groups, -1, states).mT
    skip = None if D is None else D.to(wide).reshape(heads, -1)
    y, h_BGNX = _apply(x, dt_BLH, A.to(wide), B, C, skip, h_BGNX, chunk_size or CHUNK)
    if z is not None:
        y = y * F.silu(z.to(wide))
    y = y.to(x.dtype)
    return (y, h_BGNX.mT.reshape(batch, heads, head_dim, states)) if return_final_states else y
