"""The causal depthwise convolution and its update step, as a sum of shifted products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from manticore.kernels.ops import ConvArgs, ConvUpdateArgs


def causal_conv1d(args: ConvArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.causal_conv1d`; on any device, in any real floating-point dtype."""
    x, weight = args.x, args.weight
    wide = torch.promote_types(x.dtype, torch.float32)
    padded_BWS = prepend_states(x, args.initial_states, weight.shape[1] - 1)
    y_BWL = _correlate(padded_BWS.to(wide), weight.to(wide), args.bias, args.activation).to(x.dtype)
    return (y_BWL, padded_BWS[..., x.shape[-1] :]) if args.return_final_states else y_BWL


def prepend_states(x_BWL: Tensor, states_BWS: Tensor | None, steps: int) -> Tensor:
    """The sequence after its `steps` previous steps, zeros if None."""
    states_BWS = x_BWL.new_zeros(*x_BWL.shape[:2], steps) if states_BWS is None else states_BWS.to(x_BWL.dtype)
    return torch.cat([states_BWS, x_BWL], dim=-1)


def causal_conv1d_update(args: ConvUpdateArgs) -> Tensor:
    """See `ops.causal_conv1d_update`; on any device, in any real floating-point dtype."""
    x, state_BWS, weight = args.x, args.conv_state, args.weight
    wide = torch.promote_types(x.dtype, torch.float32)
    x_BWL = x.unsqueeze(-1) if x.ndim == 2 else x
    padded_BWS = torch.cat([state_BWS, x_BWL.to(state_BWS.dtype)], dim=-1)
    with torch.no_grad():
        state_BWS.copy_(padded_BWS[..., x_BWL.shape[-1] :])
    needed = x_BWL.shape[-1] + weight.shape[1] - 1
    y_BWL = _correlate(padded_BWS[..., -needed:].to(wide), weight.to(wide), args.bias, args.activation).to(x.dtype)
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
