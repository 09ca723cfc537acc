"""Mamba-2's scan written to be read: one step of the recurrence per turn of a Python loop.

Every faster backend is compared with this one, outputs and gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


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
    """The recurrence of Mamba-2 (Dao and Gu 2024, https://arxiv.org/abs/2405.21060), any device or dtype.

    For each head, with dt = clamp(softplus(dt + dt_bias), *dt_limit), softplus where asked::

        h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T
        y_t = (h_t C_t + D x_t) * silu(z_t)

    `x`, `z` (batch, length, heads, head_dim); `dt` (batch, length, heads); `A`, `dt_bias` (heads,); `B`, `C` (batch,
    length, groups, state), each group serving as many heads; `D` (heads,) or (heads, head_dim); `initial_states`
    (batch, heads, head_dim, state), zero if absent. `chunk_size` is for backends that cut the sequence; not this one.

    Returns y like `x`, and with `return_final_states` also h after the last step, in fp32 (fp64 for fp64 `x`).
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    (batch, length, heads, head_dim), state = x.shape, B.shape[-1]
    x_BLHP, A_H = x.to(wide), A.to(wide)
    B_BLHN, C_BLHN = (v.to(wide).repeat_interleave(heads // v.shape[2], dim=2) for v in (B, C))
    dt_BLH = step_sizes(dt.to(wide), dt_bias, dt_softplus, dt_limit)
    h_BHPN = x_BLHP.new_zeros(batch, heads, head_dim, state) if initial_states is None else initial_states.to(wide)

    steps = []
    for t in range(length):
        decay_BH = torch.exp(dt_BLH[:, t] * A_H)
        inflow_BHP = dt_BLH[:, t, :, None] * x_BLHP[:, t]
        h_BHPN = decay_BH[..., None, None] * h_BHPN + inflow_BHP[..., None] * B_BLHN[:, t, :, None]
        steps.append((h_BHPN * C_BLHN[:, t, :, None]).sum(-1))
    y_BLHP = torch.stack(steps, dim=1)

    if D is not None:
        y_BLHP = y_BLHP + D.to(wide).reshape(heads, -1) * x_BLHP
    if z is not None:
        y_BLHP = y_BLHP * F.silu(z.to(wide))
    y_BLHP = y_BLHP.to(x.dtype)
    return (y_BLHP, h_BHPN) if return_final_states else y_BLHP


def step_sizes(dt_BLH: Tensor, bias: Tensor | None, softplus: bool, limit: tuple[float, float]) -> Tensor:
    """The step sizes that raw `dt_BLH` stands for, in its dtype."""
    if bias is not None:
        dt_BLH = dt_BLH + bias.to(dt_BLH.dtype)
    if softplus:
        dt_BLH = F.softplus(dt_BLH)
    return dt_BLH.clamp(*limit)
