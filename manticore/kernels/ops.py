"""The kernel operations: signature, argument checks and choice of a backend.

The signature of an operation is a NamedTuple. The operation is called with its fields, as in
`selective_scan(u, delta, A, B, C, delta_softplus=True)`, and the backend receives the tuple. The field `backend` is
`auto`, which takes the fastest backend that can run the call, or a name in `BACKENDS`.

All operations raise ManticoreError where arguments do not fit together or the backend cannot run them, and UnknownName
for an unknown backend.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import check_tensors, count_groups, kernel_size, present_tensors
from manticore.kernels.dispatch import FINAL_STATES, LAST_STATE_GRADIENT, select_kernel

ACTIVATIONS = (None, "silu", "swish")
"""Activations that a convolution can apply; `silu` and `swish` are the same."""

GRAPH_OPERATORS: dict[str, Callable[[Any], Any]] = {}
"""By operation, the function of its tuple that calls its operator in torch's library (`library`)."""

Fields = ParamSpec("Fields")
Args = TypeVar("Args")
Output = TypeVar("Output")


def _operation(signature: Callable[Fields, Args]) -> Callable[[Callable[[Args], Output]], Callable[Fields, Output]]:
    """Decorator: a function of a NamedTuple becomes one of the tuple's fields, with their names and defaults.

    While torch compiles a graph, the operation is one node of it.
    """

    def decorate(function: Callable[[Args], Output]) -> Callable[Fields, Output]:
        @wraps(function)
        def operation(*args: Fields.args, **kwargs: Fields.kwargs) -> Output:
            arguments = signature(*args, **kwargs)
            if torch.compiler.is_compiling() and function.__name__ in GRAPH_OPERATORS:
                return cast(Output, GRAPH_OPERATORS[function.__name__](arguments))
            return function(arguments)

        vars(operation)["__signature__"] = inspect.signature(signature)
        return operation

    return decorate


def _tensors(args: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """The fields `names` that are not None. Raises ManticoreError if a field without a default is not a tensor."""
    return present_tensors([(name, getattr(args, name)) for name in names], args._field_defaults)


class ScanArgs(NamedTuple):
    """Arguments of `selective_scan`: B sequences of L steps, W channels with N states each.

    Attributes:
        u: input (B, W, L).
        delta: step sizes (B, W, L), before bias and softplus.
        A: decay rates (W, N).
        B, C: input and output projections (B, N, L).
        D: skip weight (W,), or None.
        z: gate (B, W, L), or None.
        delta_bias: bias of the step sizes (W,), or None.
        delta_softplus: apply softplus to the step sizes.
        return_last_state: return the state after the last step too.
        initial_state: state before the first step (B, W, N); None for zeros.
        backend: `auto` or a name in `BACKENDS`.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = False
    return_last_state: bool = False
    initial_state: Tensor | None = None
    backend: str = "auto"


SCAN_TENSORS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


@_operation(ScanArgs)
def selective_scan(args: ScanArgs) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, algorithm 2).

    The arguments are the fields of `ScanArgs`. With `delta = softplus(delta + delta_bias)`, softplus if
    `delta_softplus`::

        h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t
        y_t = (C_t . h_t + D u_t) * silu(z_t)

    Returns:
        y (B, W, L) in the dtype of `u`, and with `return_last_state` also h (B, W, N) after the last step, in fp32
        (fp64 for fp64 `u`).
    """
    tensors = _tensors(args, SCAN_TENSORS)
    u, A = args.u, args.A
    if u.ndim != 3 or 0 in u.shape:
        raise ManticoreError(f"'u' has shape {tuple(u.shape)}; allowed: (batch, width, length), none of them 0.")
    (batch, width, length), state = u.shape, A.shape[-1] if A.ndim else 0
    if tuple(A.shape) != (width, state) or state == 0:
        raise ManticoreError(f"'A' has shape {tuple(A.shape)}; allowed: (width, state) with width {width} as in 'u'.")
    sequence, projection, channels = (batch, width, length), (batch, state, length), (width,)
    shapes = {"u": sequence, "delta": sequence, "z": sequence, "A": (width, state), "B": projection, "C": projection}
    shapes |= {"D": channels, "delta_bias": channels, "initial_state": (batch, width, state)}
    check_tensors(tensors, shapes, "'u', 'A'")
    state_gradient = (
        args.return_last_state and torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())
    )
    kernel = select_kernel("selective_scan", args.backend, tensors, {LAST_STATE_GRADIENT} if state_gradient else ())
    out: Tensor | tuple[Tensor, Tensor] = kernel(args)
    return out


class StateUpdateArgs(NamedTuple):
    """Arguments of `selective_state_update`: one step of B sequences.

    For Mamba, W channels with N states each. For Mamba-2, W is (heads, head_dim) in all shapes, and B and C are
    (B, groups, N), where each group serves heads / groups consecutive heads.

    Attributes:
        state: state before the step (B, W, N). It is overwritten in its own dtype with the state after the step.
        x: input (B, W).
        dt: step size (B, W), before bias and softplus.
        A: decay rates (W, N).
        B, C: input and output projections (B, N).
        D: skip weight (W,), or None.
        z: gate (B, W), or None.
        dt_bias: bias of the step size (W,), or None.
        dt_softplus: apply softplus to the step size.
        backend: `auto` or a name in `BACKENDS`.
    """

    state: Tensor
    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    dt_bias: Tensor | None = None
    dt_softplus: bool = False
    backend: str = "auto"


STATE_UPDATE_TENSORS = ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")


@_operation(StateUpdateArgs)
def selective_state_update(args: StateUpdateArgs) -> Tensor:
    """One step of `selective_scan` or `ssd_scan`, for decoding.

    The arguments are the fields of `StateUpdateArgs`. Arithmetic is in fp32 at least. Gradients reach the arguments of
    this call, with the state before the step among them, but not those of earlier calls: the written state has no
    history.

    Returns:
        y (B, W) in the dtype of `x`.
    """
    tensors = _tensors(args, STATE_UPDATE_TENSORS)
    state = args.state
    if state.ndim not in (3, 4) or 0 in state.shape:
        forms = "(batch, width, state) or (batch, heads, head_dim, state), none of them 0"
        raise ManticoreError(f"'state' has shape {tuple(state.shape)}; allowed: {forms}.")
    batch, *channels, states = state.shape
    projection: tuple[int, ...] = (batch, states)
    if state.ndim == 4:
        projection = (batch, count_groups("B", args.B, 3, channels[0]), states)
    shapes = dict.fromkeys(("x", "dt", "z"), (batch, *channels)) | dict.fromkeys(("D", "dt_bias"), (*channels,))
    shapes |= {"state": tuple(state.shape), "A": (*channels, states), "B": projection, "C": projection}
    check_tensors(tensors, shapes, "'state', 'B'" if state.ndim == 4 else "'state'")
    y: Tensor = select_kernel("selective_state_update", args.backend, tensors)(args)
    return y


class SsdArgs(NamedTuple):
    """Arguments of `ssd_scan`: B sequences of L steps, H heads of P features with N states each, in G groups.

    Attributes:
        x: input (B, L, H, P).
        dt: step sizes (B, L, H), before bias, softplus and limit.
        A: decay rates (H,).
        B, C: input and output projections (B, L, G, N); each group serves H / G consecutive heads.
        D: skip weight (H,) or (H, P), or None.
        z: gate (B, L, H, P), or None.
        dt_bias: bias of the step sizes (H,), or None.
        initial_states: state before the first step (B, H, P, N); None for zeros.
        dt_softplus: apply softplus to the step sizes.
        dt_limit: lowest and highest step size.
        return_final_states: return the state after the last step too.
        chunk_size: steps of a chunk, for backends that cut the sequence; None for the backend's default. Results differ
            by rounding alone.
        backend: `auto` or a name in `BACKENDS`.
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    dt_bias: Tensor | None = None
    initial_states: Tensor | None = None
    dt_softplus: bool = False
    dt_limit: tuple[float, float] = (0.0, math.inf)
    return_final_states: bool = False
    chunk_size: int | None = None
    backend: str = "auto"


SSD_TENSORS = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states")


@_operation(SsdArgs)
def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """The scan of Mamba-2, also known as SSD (Dao and Gu 2024, https://arxiv.org/abs/2405.21060).

    The arguments are the fields of `SsdArgs`. For each head, with `dt = clamp(softplus(dt + dt_bias), *dt_limit)`,
    softplus if `dt_softplus`::

        h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T
        y_t = (h_t C_t + D x_t) * silu(z_t)

    Returns:
        y (B, L, H, P) in the dtype of `x`, and with `return_final_states` also h (B, H, P, N) after the last step, in
        fp32 (fp64 for fp64 `x`).
    """
    tensors = _tensors(args, SSD_TENSORS)
    x, B, D = args.x, args.B, args.D
    if x.ndim != 4 or 0 in x.shape:
        allowed = "(batch, length, heads, head_dim), none of them 0"
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: {allowed}.")
    batch, length, heads, head_dim = x.shape
    groups, state = count_groups("B", B, 4, heads), B.shape[-1]
    if state == 0:
        raise ManticoreError(
            f"'B' has shape {tuple(B.shape)}; allowed: (batch, length, groups, state), none of them 0."
        )
    if args.chunk_size is not None and (not isinstance(args.chunk_size, int) or args.chunk_size < 1):
        raise ManticoreError(f"'chunk_size' is {args.chunk_size!r}; allowed: None or an int from 1.")
    if not (len(args.dt_limit) == 2 and args.dt_limit[0] <= args.dt_limit[1]):
        raise ManticoreError(f"'dt_limit' is {args.dt_limit!r}; allowed: (lowest, highest).")
    projection = (batch, length, groups, state)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("x", "z"), tuple(x.shape))
    shapes |= {"B": projection, "C": projection, "dt": (batch, length, heads), "A": (heads,), "dt_bias": (heads,)}
    shapes |= {"D": (heads, head_dim) if D is not None and D.ndim == 2 else (heads,)}
    check_tensors(tensors, shapes | {"initial_states": (batch, heads, head_dim, state)}, "'x', 'B'")
    out: Tensor | tuple[Tensor, Tensor] = select_kernel("ssd_scan", args.backend, tensors)(args)
    return out


class ConvArgs(NamedTuple):
    """Arguments of `causal_conv1d`: B sequences of L steps, W channels, kernels of K steps.

    Attributes:
        x: input (B, W, L).
        weight: one kernel for each channel (W, K).
        bias: (W,), or None.
        initial_states: the K - 1 steps before the first (B, W, K - 1); None for zeros.
        return_final_states: return the last K - 1 steps too.
        activation: None, `silu` or `swish`, which is the same.
        backend: `auto` or a name in `BACKENDS`.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None = None
    initial_states: Tensor | None = None
    return_final_states: bool = False
    activation: str | None = None
    backend: str = "auto"


CONV_TENSORS = ("x", "weight", "bias", "initial_states")


@_operation(ConvArgs)
def causal_conv1d(args: ConvArgs) -> Tensor | tuple[Tensor, Tensor]:
    """The causal depthwise convolution that precedes the scan in Mamba.

    The arguments are the fields of `ConvArgs`. For each channel::

        y_t = activation(bias + sum_k weight_k x_{t - K + 1 + k})

    Returns:
        y (B, W, L) in the dtype of `x`, and with `return_final_states` also the last K - 1 steps (B, W, K - 1), which a
        next call takes as `initial_states`.
    """
    tensors = _tensors(args, CONV_TENSORS)
    x = args.x
    if x.ndim != 3 or 0 in x.shape:
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: (batch, width, length), none of them 0.")
    width, kernel = x.shape[1], kernel_size(x, args.weight)
    _check_activation(args.activation)
    shapes = {"x": tuple(x.shape), "weight": (width, kernel), "bias": (width,)}
    check_tensors(tensors, shapes | {"initial_states": (x.shape[0], width, kernel - 1)}, "'x', 'weight'")
    features = {FINAL_STATES} if args.return_final_states else ()
    out: Tensor | tuple[Tensor, Tensor] = select_kernel("causal_conv1d", args.backend, tensors, features)(args)
    return out


class ConvUpdateArgs(NamedTuple):
    """Arguments of `causal_conv1d_update`: the next T steps of B sequences, W channels, kernels of K steps.

    Attributes:
        x: input (B, W), or (B, W, T).
        conv_state: the latest steps (B, W, S) with S >= K - 1. It is overwritten with the latest S steps after `x`.
        weight: one kernel for each channel (W, K).
        bias: (W,), or None.
        activation: None, `silu` or `swish`, which is the same.
        backend: `auto` or a name in `BACKENDS`.
    """

    x: Tensor
    conv_state: Tensor
    weight: Tensor
    bias: Tensor | None = None
    activation: str | None = None
    backend: str = "auto"


@_operation(ConvUpdateArgs)
def causal_conv1d_update(args: ConvUpdateArgs) -> Tensor:
    """The next steps of `causal_conv1d`, for decoding.

    The arguments are the fields of `ConvUpdateArgs`. Gradients reach the arguments of this call, but not those of
    earlier calls: the written state has no history.

    Returns:
        y in the shape and dtype of `x`.
    """
    tensors = _tensors(args, ("x", "conv_state", "weight", "bias"))
    x, conv_state = args.x, args.conv_state
    if x.ndim not in (2, 3) or 0 in x.shape:
        allowed = "(batch, width) or (batch, width, steps), none of them 0"
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: {allowed}.")
    (batch, width), kernel = x.shape[:2], kernel_size(x, args.weight)
    _check_activation(args.activation)
    steps = conv_state.shape[-1] if conv_state.ndim == 3 else 0
    if tuple(conv_state.shape) != (batch, width, steps) or steps < kernel - 1:
        allowed = f"({batch}, {width}, at least {kernel - 1})"
        raise ManticoreError(f"'conv_state' has shape {tuple(conv_state.shape)}; allowed: {allowed}.")
    shapes = {"x": tuple(x.shape), "conv_state": (batch, width, steps), "weight": (width, kernel), "bias": (width,)}
    check_tensors(tensors, shapes, "'x', 'weight'")
    y: Tensor = select_kernel("causal_conv1d_update", args.backend, tensors)(args)
    return y


def _check_activation(activation: str | None) -> None:
    if activation not in ACTIVATIONS:
        raise ManticoreError(f"'activation' is {activation!r}; allowed: {', '.join(map(repr, ACTIVATIONS))}.")
