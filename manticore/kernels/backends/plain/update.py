"""One step of the selective scan, for decoding. One step has so few operations that vectorized torch is fast enough."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from manticore.kernels.ops import StateUpdateArgs


def selective_state_update(args: StateUpdateArgs) -> Tensor:
    """See `ops.selective_state_update`; on any device, in any real floating-point dtype."""
    state, B, C = args.state, args.B, args.C
    wide = torch.promote_types(torch.promote_types(args.x.dtype, state.dtype), torch.float32)
    x, dt = args.x.to(wide), args.dt.to(wide)
    if args.dt_bias is not None:
        dt = dt + args.dt_bias.to(wide)
    if args.dt_softplus:
        dt = F.softplus(dt)
    if state.ndim == 4:  # (batch, heads, head_dim, state): give each head its group's projections
        B, C = (v.repeat_interleave(state.shape[1] // v.shape[1], dim=1) for v in (B, C))
    B, C = B.to(wide).unsqueeze(-2), C.to(wide).unsqueeze(-2)

    before = state.to(wide, copy=torch.is_grad_enabled())  # autograd needs the state that is overwritten below
    after = torch.exp(dt[..., None] * args.A.to(wide)) * before + (dt * x)[..., None] * B
    with torch.no_grad():
        state.copy_(after)
    y = (after * C).sum(-1)
    if args.D is not None:
        y = y + args.D.to(wide) * x
    if args.z is not None:
        y = y * F.silu(args.z.to(wide))
    return y.to(args.x.dtype)
