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

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manticore.kernels.backends.plain.ssd import step_sizes
from manticore.kernels.ops import SsdArgs

CHUNK = 64
"""Default steps of a chunk. At 64 and 128 states on a CPU, 32 and 128 steps are no faster."""


Terms = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def chunk_terms(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Terms:
    """The terms of a chunk of S steps, in the precision of `dt` and `A`. T is a second axis over the same steps.

    Returns:
        u_BSHP = dt x; B_BGSN; C_BGTN; decay_BGRTS = exp(s_t - s_s) for the R heads of a group, 0 for s > t;
        from_start_BTH = exp(s_t), the decay of the state before the chunk; to_end_BSH = exp(s_T - s_s), the decay of a
        step's input until the end of the chunk; s_T as (batch, head) in double precision.
    """
    groups = B.shape[2]
    sums_BSH = running_sums(dt * A.double())
    sums_BGRS = sums_BSH.mT.unflatten(1, (groups, -1))
    between = (sums_BGRS[..., :, None] - sums_BGRS[..., None, :]).to(dt.dtype)
    decay_BGRTS = between.exp_().tril_()
    to_end_BSH = decay_BGRTS[..., -1, :].flatten(1, 2).mT
    u, B, C = x * dt[..., None], B.to(dt.dtype).transpose(1, 2), C.to(dt.dtype).transpose(1, 2)
    return u, B, C, decay_BGRTS, sums_BSH.to(dt.dtype).exp(), to_end_BSH, sums_BSH[:, -1]


def refuses_cumsum(x: Tensor) -> bool:
    """Whether `cumsum` of a tensor is an error of torch, because on a GPU it does not repeat to the bit."""
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def running_sums(x_BSH: Tensor) -> Tensor:
    """The sum over the steps up to each one, (batch, step, head); where `cumsum` is refused, by a matrix product."""
    if not refuses_cumsum(x_BSH):
        return x_BSH.cumsum(1)
    return torch.ones(x_BSH.shape[1], x_BSH.shape[1], dtype=x_BSH.dtype, device=x_BSH.device).tril_() @ x_BSH


def by_group(x_BSHP: Tensor, groups: int) -> Tensor:
    """(batch, step, head, head_dim) -> (batch, group, step, head * head_dim) with the heads of the group."""
    size = (*x_BSHP.shape[:2], groups, -1)
    return x_BSHP.reshape(size).transpose(1, 2)


def no_autocast(x: Tensor) -> Any:
    """A context without automatic precision on the device of a tensor; shapes on `meta` are those of the CPU."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def by_head(x_BGSX: Tensor, heads: int) -> Tensor:
    """The inverse of `by_group`."""
    size = (x_BGSX.shape[0], x_BGSX.shape[2], heads, -1)
    return x_BGSX.transpose(1, 2).reshape(size)


def attention_weights(scores_BGTS: Tensor, decay_BGRTS: Tensor) -> Tensor:
    """The weights (batch, head, T, S) of input S in output T: (C_t . B_s) exp(s_t - s_s)."""
    return (scores_BGTS[:, :, None] * decay_BGRTS).flatten(1, 2)


def decay_over_chunk(h_BGNX: Tensor, from_start_BTH: Tensor) -> Tensor:
    """exp(s_T) h: a state after the chunk without its inputs, or the gradient of a state before the chunk."""
    batch, groups, states, _ = h_BGNX.shape
    decay_BGR = from_start_BTH[:, -1].reshape(batch, groups, -1)
    h_BGNRP = h_BGNX.reshape(batch, groups, states, decay_BGR.shape[2], -1)
    return (h_BGNRP * decay_BGR[:, :, None, :, None]).flatten(3)


def add_product(to_BGXY: Tensor, x_BGXZ: Tensor, y_BGZY: Tensor) -> Tensor:
    """to + x @ y, written to `to`."""
    to_BGXY.flatten(0, 1).baddbmm_(x_BGXZ.flatten(0, 1), y_BGZY.flatten(0, 1))
    return to_BGXY


def sum_by_head(x_BGSX: Tensor, heads: int) -> Tensor:
    """(batch, group, step, head * head_dim) -> (batch, group, head, step), with the heads of a group."""
    sums_BGSR: Tensor = x_BGSX.unflatten(3, (heads, -1)).sum(-1)
    return sums_BGSR.mT


def decayed_gradients(terms: Terms, dy_BTHP: Tensor) -> Tensor:
    """The gradient of the outputs by group, decayed from the start of the chunk."""
    return by_group(dy_BTHP * terms[4][..., None], terms[1].shape[1])


def chunk_gradients(
    terms: Terms,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    D: Tensor | None,
    h_BGNX: Tensor,
    dh_BGNX: Tensor,
    dy_BTHP: Tensor,
    dy_decayed_BGTX: Tensor,
    dh_decayed_BGNX: Tensor,
) -> tuple[Any, ...]:
    """Gradients of x, dt, B, C, A (H,) in double precision and D (None without it) by a chunk.

    `h` is the state before the chunk, `dh` the gradient of the state after it; `dh_decayed` is `dh` decayed
    over the chunk.
    """
    u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, _, to_end_BSH, _ = terms
    heads, groups = x.shape[2], B_BGSN.shape[1]
    u_BHSP, dy_BHTP = (v.transpose(1, 2).contiguous() for v in (u_BSHP, dy_BTHP))
    u_decayed_BGSX = by_group(u_BSHP * to_end_BSH[..., None], groups)

    # du: through the outputs of the chunk, and through the state after it.
    scores_BGTS = C_BGTN @ B_BGSN.mT
    du_BSHP = (attention_weights(scores_BGTS, decay_BGRTS).mT @ dy_BHTP).transpose(1, 2)
    after_BGSX = B_BGSN @ dh_BGNX
    du_BSHP = torch.addcmul(du_BSHP, by_head(after_BGSX, heads), to_end_BSH[..., None])
    dscores_BGRTS = (dy_BHTP @ u_BHSP.mT).unflatten(1, (groups, -1)).mul_(decay_BGRTS)
    dscores_BGTS = dscores_BGRTS.sum(2)
    dC = add_product(dy_decayed_BGTX @ h_BGNX.mT, dscores_BGTS, B_BGSN).transpose(1, 2)
    dB = add_product(u_decayed_BGSX @ dh_BGNX.mT, dscores_BGTS.mT, C_BGTN).transpose(1, 2)

    # Gradients of the sums s. The term of exp(s_t - s_r) counts for s_t and against s_r, that of exp(s_t) for s_t, and
    # that of exp(s_T - s_r) for s_T and against s_r. s_T also scales the state.
    from_start_grad_BGRT = sum_by_head(dy_decayed_BGTX * (C_BGTN @ h_BGNX), heads // groups)
    to_end_grad_BGRS = sum_by_head(u_decayed_BGSX * after_BGSX, heads // groups)
    pairs_BHTS = dscores_BGRTS.mul_(scores_BGTS[:, :, None]).flatten(1, 2)
    inside_BHS = pairs_BHTS.sum(-1, dtype=torch.float64) - pairs_BHTS.sum(-2, dtype=torch.float64)
    dsums_BGRS = inside_BHS.unflatten(1, (groups, -1)) + from_start_grad_BGRT - to_end_grad_BGRS
    state_grad_BGR = (dh_decayed_BGNX * h_BGNX).unflatten(3, (heads // groups, -1)).sum((2, 4))
    dsums_BGRS[..., -1].add_(to_end_grad_BGRS.sum(-1, dtype=torch.float64)).add_(state_grad_BGR)
    dsums_BSH = dsums_BGRS.flatten(1, 2).mT
    dsteps_BSH = running_sums(dsums_BSH.flip(1)).flip(1)  # s_t contains the steps up to t

    ddt = dsteps_BSH * A + (du_BSHP * x).sum(-1)
    dx = du_BSHP * dt[..., None]
    dD = None
    if D is not None:
        dx = dx.addcmul_(dy_BTHP, D)
        dD = (dy_BTHP * x).sum((0, 1) if D.shape[1] > 1 else (0, 1, 3)).view(D.shape)
    return dx, ddt, dB, dC, (dsteps_BSH * dt).sum((0, 1)), dD


class _Scan(torch.autograd.Function):
    """The scan from step sizes to the ungated output; `D` is (heads, head_dim or 1)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h_BGNX: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        heads, groups = x.shape[2], B.shape[2]
        y, saved_states = torch.empty_like(x, dtype=dt.dtype), []
        with no_autocast(x):
            for start in range(0, x.shape[1], size):
                chunk = slice(start, start + size)
                saved_states.append(h_BGNX)
                terms = chunk_terms(x[:, chunk], dt[:, chunk], A, B[:, chunk], C[:, chunk])
                u_BSHP, B_BGSN, C_BGTN, decay_BGRTS, from_start_BTH, to_end_BSH, _ = terms
                weights_BHTS = attention_weights(C_BGTN @ B_BGSN.mT, decay_BGRTS)
                inside_BTHP = (weights_BHTS @ u_BSHP.transpose(1, 2)).transpose(1, 2)
                before_BTHP = by_head(C_BGTN @ h_BGNX, heads)
                torch.addcmul(inside_BTHP, before_BTHP, from_start_BTH[..., None], out=y[:, chunk])
                if D is not None:
                    y[:, chunk].addcmul_(x[:, chunk], D)
                decayed_BGSX = by_group(u_BSHP * to_end_BSH[..., None], groups)
                h_BGNX = add_product(decay_over_chunk(h_BGNX, from_start_BTH), B_BGSN.mT, decayed_BGSX)
        ctx.save_for_backward(x, dt, A, B, C, D, *saved_states)
        ctx.size = size
        return y, h_BGNX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh_BGNX: Tensor) -> tuple[Any, ...]:
        x, dt, A, B, C, D, *saved_states = ctx.saved_tensors
        dx, ddt = torch.empty_like(x), torch.empty_like(dt)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        dD = None if D is None else torch.zeros_like(D)
        dA = torch.zeros_like(A, dtype=torch.float64)
        with no_autocast(x):
            for start in reversed(range(0, x.shape[1], ctx.size)):
                chunk, h_BGNX = slice(start, start + ctx.size), saved_states.pop()
                terms = chunk_terms(x[:, chunk], dt[:, chunk], A, B[:, chunk], C[:, chunk])
                C_BGTN = terms[2]
                dy_decayed_BGTX = decayed_gradients(terms, dy[:, chunk])
                dh_decayed_BGNX = decay_over_chunk(dh_BGNX, terms[4])
                inputs = (x[:, chunk], dt[:, chunk], A, D, h_BGNX, dh_BGNX, dy[:, chunk])
                gradients = chunk_gradients(terms, *inputs, dy_decayed_BGTX, dh_decayed_BGNX)
                dx[:, chunk], ddt[:, chunk], dB[:, chunk], dC[:, chunk] = gradients[:4]
                dA += gradients[4]
                if D is not None:
                    dD += gradients[5]
                dh_BGNX = add_product(dh_decayed_BGNX, C_BGTN.mT, dy_decayed_BGTX)
        return dx, ddt, dA.to(A.dtype), dB, dC, dD, dh_BGNX, None


def scan_with(apply: Any, args: SsdArgs, size: int) -> Tensor | tuple[Tensor, Tensor]:
    """The scan by `apply`, a function of x, step sizes, A, B, C, D, the first state and the steps of a chunk."""
    x, z, D = args.x, args.z, args.D
    wide = torch.promote_types(x.dtype, torch.float32)
    (batch, _, heads, head_dim), (groups, states) = x.shape, args.B.shape[2:]
    dt_BLH = step_sizes(args.dt.to(wide), args.dt_bias, args.dt_softplus, args.dt_limit)
    if args.initial_states is None:
        h_BGNX = x.new_zeros(batch, groups, states, heads // groups * head_dim, dtype=wide)
    else:
        h_BGNX = args.initial_states.to(wide).reshape(batch, groups, -1, states).mT
    D = None if D is None else D.to(wide).reshape(heads, -1)
    y, h_BGNX = apply(x, dt_BLH, args.A.to(wide), args.B, args.C, D, h_BGNX, size)
    if z is not None:
        y = y * F.silu(z.to(wide))
    y = y.to(x.dtype)
    return (y, h_BGNX.mT.reshape(batch, heads, head_dim, states)) if args.return_final_states else y


def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.ssd_scan`; differentiable once. A NaN in a step spreads to all steps of its chunk, earlier ones too."""
    return scan_with(_Scan.apply, args, args.chunk_size or CHUNK)
