"""Patches of transformers' Mamba, Falcon Mamba and Mamba-2, and of hybrids with Mamba-2 layers.

The kernels run on the CPU, and on a GPU where transformers would use a Python loop. Besides speed two results change:
several tokens on a cache with a state continue from that state, where transformers' Mamba would start from zero; and
`time_step_limit` holds for a single token on such a cache, too, where transformers' Mamba-2 leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from threading import local
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.kernels.dispatch import importable
from manticore.kernels.hf_patches.patch import Function, Patch, is_captured, is_exported
from manticore.kernels.ops import (
    ACTIVATIONS,
    causal_conv1d,
    causal_conv1d_update,
    selective_scan,
    selective_state_update,
    ssd_scan,
)

MAMBA2_MIXERS = {
    "mamba2": "Mamba2Mixer",
    "bamba": "BambaMixer",
    "falcon_h1": "FalconH1Mixer",
    "granitemoehybrid": "GraniteMoeHybridMambaLayer",
    "nemotron_h": "NemotronHMamba2Mixer",
}
"""Class of the Mamba-2 layers by model type of transformers."""

_running_mixer = local()
"""What the mixer that runs now passes to its kernels.

`state`: the cached state from which the scan must start, or None. `limit`: smallest and largest step size, or None.
"""


def _initial_state() -> Tensor | None:
    state: Tensor | None = None if is_captured() else getattr(_running_mixer, "state", None)
    return state


@contextmanager
def _running(**values: Any) -> Iterator[None]:
    """Set attributes of `_running_mixer` in a block."""
    previous = {name: getattr(_running_mixer, name, None) for name in values}
    vars(_running_mixer).update(values)
    try:
        yield
    finally:
        vars(_running_mixer).update(previous)


def _scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, **options: Any) -> Any:
    """`selective_scan` with transformers' arguments. Those that choose among its own scans are dropped."""
    names = ("D", "z", "delta_bias", "delta_softplus", "return_last_state")
    known = {name: options[name] for name in names if name in options}
    return selective_scan(u, delta, A, B, C, **known, initial_state=_initial_state())


def _update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any, **options: Any) -> Any:
    names = ("D", "z", "dt_bias", "dt_softplus")
    known = dict(zip(names, rest, strict=False)) | {name: options[name] for name in names if name in options}
    return selective_state_update(state, x, dt, A, B, C, **known)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: Any) -> Any:
    return causal_conv1d(x, weight, bias, activation=activation)


def _conv_update(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Any:
    return causal_conv1d_update(x, state, weight, bias, activation)


def _chunk_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int | None = None, **options: Any
) -> Any:
    """`ssd_scan` with transformers' arguments. The configured chunk size is dropped: it only affects speed."""
    names = {"initial_states", "D", "z", "dt_bias", "dt_softplus", "dt_limit", "return_final_states"}
    return ssd_scan(x, dt, A, B, C, **{name: value for name, value in options.items() if name in names})


def _no_fused_layer(*_: Any, **__: Any) -> None:
    """transformers' result where it has no fused CUDA layer: it then runs the operations one by one."""


def _route(kernel: Function, package: str) -> Callable[[Function], Function]:
    """`kernel` on the CPU, and where `package` is missing, which transformers would use; otherwise the original.

    Updates write to a state and have no operator, so that compiled graphs contain the original.
    """
    is_hidden = is_captured if kernel in (_update, _conv_update) else is_exported

    def replace(original: Function) -> Function:
        @wraps(original)
        def route(x: Tensor, *args: Any, **options: Any) -> Any:
            packed = options.get("seq_idx") is not None or options.get("cu_seqlens") is not None
            unknown = options.get("activation") not in ACTIVATIONS
            use_original = packed or unknown or is_hidden() or _is_faster(x, package)
            return (original if use_original else kernel)(x, *args, **options)

        return route

    return replace


def _is_faster(x: Tensor, package: str) -> bool:
    """Whether transformers runs `package` on the device of `x`, for a scan that starts from zero."""
    return x.device.type != "cpu" and importable(package) and _initial_state() is None


def _continue_from_cache(original: Function) -> Function:
    """The `forward` of a mixer whose scan starts from the state in the cache."""

    @wraps(original)
    def forward(self: Any, hidden_states: Tensor, cache_params: Any = None, *args: Any, **options: Any) -> Any:
        if is_captured():
            return original(self, hidden_states, cache_params, *args, **options)
        state = None
        several = hidden_states.shape[1] > 1 and cache_params is not None
        if several and cache_params.has_previous_state(self.layer_idx):
            state = cache_params.layers[self.layer_idx].recurrent_states[0]
            state = state.clone() if torch.is_grad_enabled() else state  # the cache overwrites it
        with _running(state=state):
            return original(self, hidden_states, cache_params, *args, **options)

    return forward


def _limit_steps(original: Function) -> Function:
    """The `forward` of a Mamba-2 mixer whose single steps have the limits of its configuration."""

    @wraps(original)
    def forward(self: Any, *args: Any, **options: Any) -> Any:
        lowest, highest = self.time_step_limit
        has_limit = (lowest > 0 or highest < math.inf) and not is_captured()
        with _running(limit=(lowest, highest) if has_limit else None):
            return original(self, *args, **options)

    return forward


def _limited(route: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """A routed update whose step sizes, `softplus(dt + dt_bias)`, have the limit of the mixer that runs."""

    def replace(original: Function) -> Function:
        update = route(original)

        @wraps(original)
        def limited(state: Tensor, x: Tensor, dt: Tensor, *args: Any, **options: Any) -> Any:
            limit = getattr(_running_mixer, "limit", None)
            if limit is not None:
                dtype = torch.promote_types(dt.dtype, torch.float32)
                dt = F.softplus(dt.to(dtype) + options["dt_bias"]).clamp(*limit)
                options |= {"dt_bias": None, "dt_softplus": False}
            return update(state, x, dt, *args, **options)

        return limited

    return replace


def patches() -> list[Patch]:
    """The patches of all modules."""
    mamba: dict[str, tuple[Function, str]] = {
        "mamba_selective_scan": (_scan, "mamba_ssm"),
        "mamba_selective_state_update": (_update, "mamba_ssm"),
        "mamba_inner_fn": (_no_fused_layer, "mamba_ssm"),
    }
    mamba2: dict[str, tuple[Function, str]] = {
        "mamba2_chunk_scan": (_chunk_scan, "mamba_ssm"),
        "mamba2_split_conv1d_scan_combined": (_no_fused_layer, "mamba_ssm"),
    }
    by_family = {"mamba": mamba, "falcon_mamba": mamba, **dict.fromkeys(MAMBA2_MIXERS, mamba2)}
    shared: dict[str, tuple[Function, str]] = {
        "causal_conv1d_fn": (_conv, "causal_conv1d"),
        "causal_conv1d_update": (_conv_update, "causal_conv1d"),
    }
    modules = {name: import_module(f"transformers.models.{name}.modeling_{name}") for name in by_family}
    routed = [
        Patch(modules[family], name, _route(kernel, package))
        for family, kernels in by_family.items()
        for name, (kernel, package) in (kernels | shared).items()
    ]
    mixers = modules["mamba"].MambaMixer, modules["falcon_mamba"].FalconMambaMixer
    routed += [Patch(mixer, "forward", _continue_from_cache) for mixer in mixers]
    update = _limited(_route(_update, "mamba_ssm"))
    for family, mixer in MAMBA2_MIXERS.items():
        routed.append(Patch(modules[family], "mamba2_selective_state_update", update))
        routed.append(Patch(getattr(modules[family], mixer), "forward", _limit_steps))
    return routed
