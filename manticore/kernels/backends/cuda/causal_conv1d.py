"""causal-conv1d's kernels (https://github.com/Dao-AILab/causal-conv1d) under our arguments, kernel sizes 2 to 4."""

from __future__ import annotations

from causal_conv1d import causal_conv1d_fn
from causal_conv1d import causal_conv1d_update as update_fn
from torch import Tensor


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_states: None = None,
    return_final_states: bool = False,
    activation: str | None = None,
) -> Tensor:
    """As `plain.conv.causal_conv1d`, from zeros and without final states."""
    bias = None if bias is None else bias.to(x.dtype)
    out: Tensor = causal_conv1d_fn(x, weight.to(x.dtype), bias, activation=activation)
    return out


def causal_conv1d_update(
    x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """As `plain.conv.causal_conv1d_update`."""
    bias = None if bias is None else bias.to(x.dtype)
    out: Tensor = update_fn(x, conv_state, weight.to(x.dtype), bias, activation)
    return out
