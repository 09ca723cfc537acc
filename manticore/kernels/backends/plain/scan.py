"""The selective scan written to be read: one step of the recurrence per turn of a Python loop.

Every faster backend is compared with this one, outputs and gradients. It knows nothing of speed: it holds every state
of the sequence in memory when a gradient is wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    initial_state: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The recurrence of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, algorithm 2), any device or dtype.

    With delta = softplus(delta + delta_bias) where asked::

        h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t
        y_t = (C_t . h_t + D u_t) * silu(z_t)

    Arguments, shapes in (batch, width, length, state): `u`, `delta`, `z` (batch, width, length); `A` (width, state);
    `B`, `C` (batch, state, length); `D`, `delta_bias` (width,); `initial_state` (batch, width, state), zero if absent.

    Returns y in the dtype of `u`, and with `return_last_state` also h after the last step, in fp32 (fp64 for fp64 `u`).
    """
    wide = torch.promote_types(u.dtype, torch.float32)
    u_BWL, delta_BWL, A_WN = u.to(wide), delta.to(wide), A.to(wide)
    B_BNL, C_BNL = B.to(wide), C.to(wide)
    if delta_bias is not None:
        delta_BWL = delta_BWL + delta_bias.to(wide)[:, None]
    if delta_softplus:
        delta_BWL = F.softplus(delta_BWL)
    h_BWN = u_BWL.new_zeros(*u.shape[:2], A.shape[1]) if initial_state is None else initial_state.to(wide)

    steps = []
    for t in range(u.shape[2]):
        decay_BWN = torch.exp(delta_BWL[:, :, t, None] * A_WN)
        inflow_BWN = (delta_BWL[:, :, t] * u_BWL[:, :, t])[:, :, None] * B_BNL[:, None, :, t]
        h_BWN = decay_BWN * h_BWN + inflow_BWN
        steps.append((h_BWN * C_BNL[:, None, :, t]).sum(-1))
    y_BWL = torch.stack(steps, dim=-1)

    if D is not None:
        y_BWL = y_BWL + D.to(wide)[:, None] * u_BWL
    if z is not None:
        y_BWL = y_BWL * F.silu(z.to(wide))
    y_BWL = y_BWL.to(u.dtype)
    return (y_BWL, h_BWN) if return_last_state else y_BWL
