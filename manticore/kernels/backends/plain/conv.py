"""The causal depthwise convolution before a scan, written to be read: a sum of shifted products.

A sequence is preceded by the `kernel - 1` steps before it, zero where nothing is known of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """y_t = act(bias + sum_k weight_k x_{t - kernel + 1 + k}) for every channel alone, any device or dtype.

    `x` (batch, width, length); `weight` (width, kernel); `bias` (width,); `initial_states` (batch, width, kernel - 1),
    the steps before the first, zero if absent; `activation` None, "silu" or "swish", which is the same.

    Returns y like `x`, and with `return_final_states` also the last kernel - 1 steps, as a next call takes them.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    seen_BWS = preceded(x, initial_states, weight.shape[1] - 1)
    y_BWL = _correlate(seen_BWS.to(wide), weight.to(wide), bias, activation).to(x.dtype)
    return (y_BWL, seen_BWS[..., x.shape[-1] :]) if return_final_states else y_BWL


def preceded(x_BWL: Tensor, before_BWS: Tensor | None, steps: int) -> Tensor:
    """A sequence with the `steps` before it, zeros if None."""
    before_BWS = x_BWL.new_zeros(*x_BWL.shape[:2], steps) if before_BWS is None else before_BWS.to(x_BWL.dtype)
    return torch.cat([before_BWS, x_BWL], dim=-1)


def causal_conv1d_update(
    x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """The next steps of `causal_conv1d`, for decoding.

    `x` (batch, width) or (batch, width, steps); `conv_state` (batch, width, state_len), the latest steps seen, at least
    kernel - 1 of them; the rest as there. `conv_state` is overwritten with the latest steps seen by then, without their
    history: gradients reach this call's arguments only. Returns y like `x`.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x_BWL = x.unsqueeze(-1) if x.ndim == 2 else x
    seen_BWS = torch.cat([conv_state, x_BWL.to(conv_state.dtype)], dim=-1)
    with torch.no_grad():
        conv_state.copy_(seen_BWS[..., x_BWL.shape[-1] :])
    needed = x_BWL.shape[-1] + weight.shape[1] - 1
    y_BWL = _correlate(seen_BWS[..., -needed:].to(wide), weight.to(wide), bias, activation).to(x.dtype)
    return y_BWL.squeeze(-1) if x.ndim == 2 else y_BWL


def _correlate(padded_BWS: Tensor, weight_WK: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    """One output for each full window of `padded_BWS`."""
    kernel = weight_WK.shape[1]
    length = padded_BWS.shape[-1] - kernel + 1
    y_BWL = weight_WK[:, 0, None] * padded_BWS[..., :length]
    for k in range(1, kernel):
        y_BWL = y_BWL + weight_WK[:, k, None] * padded_BWS[..., k : k + length]
    if bias is not None:
        y_BWL = y_BWL + bias.to(y_BWL.dtype)[:, None]
    return y_BWL if activation is None else F.silu(y_BWL)
