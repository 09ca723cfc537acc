"""One step of the selective scan, for decoding: a state is advanced by one token and overwritten.

Few enough operations on few enough numbers that vectorized torch is all it takes. Knows nothing of caches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
) -> Tensor:
    """One step of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, algorithm 2) or of Mamba-2, any device.

    Mamba's: `state` (batch, width, state); `x`, `dt`, `z` (batch, width); `A` (width, state); `B`, `C` (batch, state);
    `D`, `dt_bias` (width,). With heads, `width` becomes (heads, head_dim) throughout and `B`, `C` are (batch, groups,
    state), each group serving as many heads.

    `state` is overwritten in its own dtype; arithmetic is in fp32 at least. Returns y in the shape and dtype of `x`.
    Gradients reach every argument, the state before this step included, but never an earlier step: what is written has
    no history.
    """
    wide = torch.promote_types(torch.promote_types(x.dtype, state.dtype), torch.float32)
    x_wide, step = x.to(wide), dt.to(wide)
    if dt_bias is not None:
        step = step + dt_bias.to(wide)
    if dt_softplus:
        step = F.softplus(step)
    if state.ndim == 4:
        B, C = (v.repeat_interleave(state.shape[1] // v.shape[1], dim=1) for v in (B, C))
    inflow, outflow = B.to(wide).unsqueeze(-2), C.to(wide).unsqueeze(-2)

    before = state.to(wide, copy=torch.is_grad_enabled())
    after = torch.exp(step[..., None] * A.to(wide)) * before + (step * x_wide)[..., None] * inflow
    with torch.no_grad():
        state.copy_(after)
    y = (after * outflow).sum(-1)
    if D is not None:
        y = y + D.to(wide) * x_wide
    if z is not None:
        y = y * F.silu(z.to(wide))
    return y.to(x.dtype)
