"""The selective scan as one step of the recurrence after another, in a Python loop.

With a gradient it stores every state of the sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from manticore.kernels.ops import ScanArgs


def selective_scan(args: ScanArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.selective_scan`; on any device, in any real floating-point dtype."""
    wide = torch.promote_types(args.u.dtype, torch.float32)
    u_BWL, delta_BWL, A_WN = args.u.to(wide), args.delta.to(wide), args.A.to(wide)
    B_BNL, C_BNL = args.B.to(wide), args.C.to(wide)
    if args.delta_bias is not None:
        delta_BWL = delta_BWL + args.delta_bias.to(wide)[:, None]
    if args.delta_softplus:
        delta_BWL = F.softplus(delta_BWL)
    if args.initial_state is None:
        h_BWN = u_BWL.new_zeros(*u_BWL.shape[:2], A_WN.shape[1])
    else:
        h_BWN = args.initial_state.to(wide)

    outputs = []
    for t in range(u_BWL.shape[2]):
        decay_BWN = torch.exp(delta_BWL[:, :, t, None] * A_WN)
        inflow_BWN = (delta_BWL[:, :, t] * u_BWL[:, :, t])[:, :, None] * B_BNL[:, None, :, t]
        h_BWN = decay_BWN * h_BWN + inflow_BWN
        outputs.append((h_BWN * C_BNL[:, None, :, t]).sum(-1))
    y_BWL = torch.stack(outputs, dim=-1)

    if args.D is not None:
        y_BWL = y_BWL + args.D.to(wide)[:, None] * u_BWL
    if args.z is not None:
        y_BWL = y_BWL * F.silu(args.z.to(wide))
    y_BWL = y_BWL.to(args.u.dtype)
    return (y_BWL, h_BWN) if args.return_last_state else y_BWL
