"""What of transformers' Mamba and Mamba-2 is replaced, and by what.

Ours run on the CPU, and on a GPU wherever transformers would fall back to a Python loop. Beside speed one thing
changes: several tokens at once on a warm cache start from the cached state, where transformers' Mamba starts from zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from threading import local
from typing import Any

import torch
from torch import Tensor

from manticore.kernels.conv import ACTIVATIONS, causal_conv1d, causal_conv1d_update
from manticore.kernels.dispatch import importable
from manticore.kernels.hf_patches.patch import Patch, watched
from manticore.kernels.scan import selective_scan
from manticore.kernels.ssd import ssd_scan
from manticore.kernels.update import selective_state_update

Function = Callable[..., Any]

_cached = local()
"""`state`: the recurrent state that the mixer now running should start its scan from, or None."""


def _warm() -> Tensor | None:
    state: Tensor | None = getattr(_cached, "state", None)
    return state


@contextmanager
def _starting_from(state: Tensor | None) -> Iterator[None]:
    before, _cached.state = _warm(), state
    try:
        yield
    finally:
        _cached.state = before


def _scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, **options: Any) -> Any:
    """Ours under transformers' arguments; its choice among its own scans means nothing here."""
    known = ("D", "z", "delta_bias", "delta_softplus", "return_last_state")
    kept = {name: options[name] for name in known if name in options}
    return selective_scan(u, delta, A, B, C, **kept, initial_state=_warm())


def _update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any, **options: Any) -> Any:
    known = ("D", "z", "dt_bias", "dt_softplus")
    given = dict(zip(known, rest, strict=False)) | {name: options[name] for name in known if name in options}
    return selective_state_update(state, x, dt, A, B, C, **given)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: Any) -> Any:
    return causal_conv1d(x, weight, bias, activation=activation)


def _conv_update(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Any:
    return causal_conv1d_update(x, state, weight, bias, activation)


def _chunk_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int | None = None, **options: Any
) -> Any:
    """Ours under transformers' arguments; the chunk size of its configuration is a matter of speed, ours to choose."""
    known = {"initial_states", "D", "z", "dt_bias", "dt_softplus", "dt_limit", "return_final_states"}
    return ssd_scan(x, dt, A, B, C, **{name: value for name, value in options.items() if name in known})


def _nothing(*_: Any, **__: Any) -> None:
    """A fused layer is for CUDA; the layer goes on with its parts."""


def _routed(ours: Function, package: str) -> Callable[[Function], Function]:
    """Ours on the CPU and wherever `package`, which transformers would use, is not there; else what was found."""

    def replace(original: Function) -> Function:
        @wraps(original)
        def route(x: Tensor, *args: Any, **options: Any) -> Any:
            packed = options.get("seq_idx") is not None or options.get("cu_seqlens") is not None
            unknown = options.get("activation") not in ACTIVATIONS
            theirs = x.device.type != "cpu" and importable(package) and _warm() is None
            return (original if theirs or packed or unknown or watched() else ours)(x, *args, **options)

        return route

    return replace


def _remembering(original: Function) -> Function:
    """`MambaMixer.forward`, telling the scan inside it where a warm cache stands."""

    @wraps(original)
    def forward(self: Any, hidden_states: Tensor, cache_params: Any = None, *args: Any, **options: Any) -> Any:
        state = None
        several = hidden_states.shape[1] > 1 and cache_params is not None and not watched()
        if several and cache_params.has_previous_state(self.layer_idx):
            state = cache_params.layers[self.layer_idx].recurrent_states[0]
            state = state.clone() if torch.is_grad_enabled() else state  # the cache writes over it
        with _starting_from(state):
            return original(self, hidden_states, cache_params, *args, **options)

    return forward


def patches() -> list[Patch]:
    """All that is replaced in transformers' two modules."""
    ours: dict[str, dict[str, tuple[Function, str]]] = {
        "mamba": {
            "mamba_selective_scan": (_scan, "mamba_ssm"),
            "mamba_selective_state_update": (_update, "mamba_ssm"),
            "mamba_inner_fn": (_nothing, "mamba_ssm"),
        },
        "mamba2": {
            "mamba2_chunk_scan": (_chunk_scan, "mamba_ssm"),
            "mamba2_selective_state_update": (_update, "mamba_ssm"),
            "mamba2_split_conv1d_scan_combined": (_nothing, "mamba_ssm"),
        },
    }
    shared: dict[str, tuple[Function, str]] = {
        "causal_conv1d_fn": (_conv, "causal_conv1d"),
        "causal_conv1d_update": (_conv_update, "causal_conv1d"),
    }
    modules = {name: import_module(f"transformers.models.{name}.modeling_{name}") for name in ours}
    found = [
        Patch(modules[family], name, _routed(function, package))
        for family, functions in ours.items()
        for name, (function, package) in (functions | shared).items()
    ]
    return [*found, Patch(modules["mamba"].MambaMixer, "forward", _remembering)]
