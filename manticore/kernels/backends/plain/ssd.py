"""The scan of Mamba-2 as one step of the recurrence after another, in a Python loop."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from manticore.kernels.ops import SsdArgs


def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.ssd_scan`; on any device, in any real floating-point dtype. `chunk_size` is not used."""
    wide = torch.promote_types(args.x.dtype, torch.float32)
    (batch, length, heads, head_dim), state = args.x.shape, args.B.shape[-1]
    x_BLHP, A_H = args.x.to(wide), args.A.to(wide)
    B_BLHN, C_BLHN = (v.to(wide).repeat_interleave(heads // v.shape[2], dim=2) for v in (args.B, args.C))
    dt_BLH = step_sizes(args.dt.to(wide), args.dt_bias, args.dt_softplus, args.dt_limit)
    if args.initial_states is None:
        h_BHPN = x_BLHP.new_zeros(batch, heads, head_dim, state)
    else:
        h_BHPN = args.initial_states.to(wide)

    outputs = []
    for t in range(length):
        decay_BH = torch.exp(dt_BLH[:, t] * A_H)
        inflow_BHP = dt_BLH[:, t, :, None] * x_BLHP[:, t]
        h_BHPN = decay_BH[..., None, None] * h_BHPN + inflow_BHP[..., None] * B_BLHN[:, t, :, None]
        outputs.append((h_BHPN * C_BLHN[:, t, :, None]).sum(-1))
    y_BLHP = torch.stack(outputs, dim=1)

    if args.D is not None:
        y_BLHP = y_BLHP + args.D.to(wide).reshape(heads, -1) * x_BLHP
    if args.z is not None:
        y_BLHP = y_BLHP * F.silu(args.z.to(wide))
    y_BLHP = y_BLHP.to(args.x.dtype)
    return (y_BLHP, h_BHPN) if args.return_final_states else y_BLHP


def step_sizes(dt_BLH: Tensor, bias: Tensor | None, softplus: bool, limit: tuple[float, float]) -> Tensor:
    """`clamp(softplus(dt + bias), *limit)`, in the dtype of `dt`; softplus is positive, so 0 is no limit of it."""
    if bias is not None:
        dt_BLH = dt_BLH + bias.to(dt_BLH.dtype)
    if softplus:
        dt_BLH = F.softplus(dt_BLH)
    return dt_BLH if softplus and limit[0] <= 0 and limit[1] == math.inf else dt_BLH.clamp(*limit)
