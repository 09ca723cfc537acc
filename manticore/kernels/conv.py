"""The causal convolution before a scan, whole sequence or next steps: arguments checked, then run by a backend."""

from __future__ import annotations

from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import expect, tensors_among
from manticore.kernels.dispatch import FINAL_STATES, choose

ACTIVATIONS = (None, "silu", "swish")


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    activation: str | None = None,
    *,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """The convolution of `plain.conv`, same arguments and results, by the fastest backend that takes the tensors.

    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"bias": bias, "initial_states": initial_states}
    tensors = tensors_among({"x": x, "weight": weight, **optional}, optional)
    if x.ndim != 3 or 0 in x.shape:
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: (batch, width, length), none of them 0.")
    width, kernel = x.shape[1], _kernel(x, weight, activation)
    shapes = {"x": tuple(x.shape), "weight": (width, kernel), "bias": (width,)}
    expect(tensors, shapes | {"initial_states": (x.shape[0], width, kernel - 1)}, "'x', 'weight'")
    conv = choose("causal_conv1d", backend, tensors, {FINAL_STATES} if return_final_states else ())
    out: Tensor | tuple[Tensor, Tensor] = conv(x, weight, bias, initial_states, return_final_states, activation)
    return out


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """The next steps as in `plain.conv`, same arguments and results: `conv_state` is overwritten, y returned.

    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"bias": bias}
    tensors = tensors_among({"x": x, "conv_state": conv_state, "weight": weight, **optional}, optional)
    if x.ndim not in (2, 3) or 0 in x.shape:
        forms = "(batch, width) or (batch, width, steps), none of them 0"
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: {forms}.")
    (batch, width), kernel = x.shape[:2], _kernel(x, weight, activation)
    kept = conv_state.shape[-1] if conv_state.ndim == 3 else 0
    if tuple(conv_state.shape) != (batch, width, kept) or kept < kernel - 1:
        allowed = f"({batch}, {width}, at least {kernel - 1})"
        raise ManticoreError(f"'conv_state' has shape {tuple(conv_state.shape)}; allowed: {allowed}.")
    shapes = {"x": tuple(x.shape), "conv_state": (batch, width, kept), "weight": (width, kernel), "bias": (width,)}
    expect(tensors, shapes, "'x', 'weight'")
    y: Tensor = choose("causal_conv1d_update", backend, tensors)(x, conv_state, weight, bias, activation)
    return y


def _kernel(x: Tensor, weight: Tensor, activation: str | None) -> int:
    """The kernel size. Raises ManticoreError where `weight` or `activation` cannot be used."""
    width = x.shape[1]
    if weight.ndim != 2 or weight.shape[0] != width or weight.shape[1] == 0:
        allowed = f"(width, kernel) with width {width} as in 'x'"
        raise ManticoreError(f"'weight' has shape {tuple(weight.shape)}; allowed: {allowed}.")
    if activation not in ACTIVATIONS:
        raise ManticoreError(f"'activation' is {activation!r}; allowed: {', '.join(map(repr, ACTIVATIONS))}.")
    return weight.shape[1]
