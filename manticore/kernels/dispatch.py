"""Which backend runs an operation, and why.

A backend is one row of `BACKENDS`: for each operation that it has, a module with a function of the operation's name,
which takes the arguments as one tuple (`ops`). A module is imported when its backend first runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from manticore.errors import ManticoreError, UnknownName
from manticore.kernels.hub import hub_module

Tensors = Mapping[str, Tensor]

LAST_STATE_GRADIENT = "the gradient of the last state"
FINAL_STATES = "final states"


def importable(package: str) -> bool:
    """Whether a package is installed and can be imported. A CUDA package fails to import on another CUDA version."""
    return _importable(package)


vars(importable)["_dynamo_marked_constant"] = True  # torch.compiler.assume_constant_result would import torch._dynamo


@cache
def _importable(package: str) -> bool:
    if find_spec(package) is None:
        return False
    try:
        import_module(package)
    except Exception:
        return False
    return True


@dataclass(frozen=True)
class Backend:
    """One implementation of the kernels: its modules, and the calls that it can run.

    Attributes:
        description: one line.
        operations: by operation, the module with a function of that name.
        packages: packages that must be importable, or have a build on the hub (`hub`).
        devices: device types of its tensors; None for any.
        dtypes: dtypes of its tensors; None for any real floating-point dtype.
        unsupported: by operation, names of tensors and features that it cannot handle.
        limits: by operation, a function of the tensors that returns why it cannot take them, or None.
    """

    description: str
    operations: Mapping[str, str]
    packages: tuple[str, ...] = ()
    devices: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    unsupported: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: Mapping[str, Callable[[Tensors], str | None]] = field(default_factory=dict)

    def load(self, operation: str) -> Callable[[Any], Any]:
        """The operation's function, which takes its arguments as one tuple. Imports its module."""
        kernel: Callable[[Any], Any] = getattr(import_module(self.operations[operation]), operation)
        return kernel

    def reason_against(self, operation: str, tensors: Tensors, features: Collection[str] = ()) -> str | None:
        """Why the backend cannot run the operation on these tensors with these features; None if it can."""
        if operation not in self.operations:
            return f"it has no {operation}."
        for name, x in tensors.items():
            if self.devices is not None and x.device.type not in self.devices:
                return f"'{name}' is on {x.device}; allowed: {', '.join(sorted(self.devices))}."
            if self.dtypes is not None and x.dtype not in self.dtypes:
                return f"'{name}' is {x.dtype}; allowed: {', '.join(sorted(map(str, self.dtypes)))}."
        if unsupported := self.unsupported.get(operation):
            for name in (*tensors, *features):
                if name in unsupported:
                    return f"it does not support {name}."
        if operation in self.limits and (reason := self.limits[operation](tensors)):
            return reason
        for package in self.packages:
            if hub_module(package) is None and not importable(package):
                return f"the package '{package}' is not importable here."
        return None


_UP_TO_SINGLE = frozenset({torch.float32, torch.bfloat16, torch.float16})
_PACKAGE = "manticore.kernels.backends"
_CUDA = frozenset({"cuda"})


def _at_most_256_states(tensors: Tensors) -> str | None:
    states = tensors["A"].shape[-1] if "A" in tensors else 0
    return f"'A' has {states} states; allowed: at most 256." if states > 256 else None


def _kernel_of_2_to_4(tensors: Tensors) -> str | None:
    kernel = tensors["weight"].shape[-1] if "weight" in tensors else 4
    return None if 2 <= kernel <= 4 else f"'weight' has a kernel of {kernel}; allowed: 2 to 4."


BACKENDS = {
    "mamba_ssm": Backend(
        "mamba-ssm's CUDA and Triton kernels",
        dict.fromkeys(("selective_scan", "selective_state_update", "ssd_scan"), f"{_PACKAGE}.cuda.mamba_ssm"),
        packages=("mamba_ssm",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
        unsupported={"selective_scan": frozenset({"initial_state", LAST_STATE_GRADIENT})},
        limits={"selective_scan": _at_most_256_states},
    ),
    "causal_conv1d": Backend(
        "causal-conv1d's CUDA kernels",
        dict.fromkeys(("causal_conv1d", "causal_conv1d_update"), f"{_PACKAGE}.cuda.causal_conv1d"),
        packages=("causal_conv1d",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
        unsupported={"causal_conv1d": frozenset({"initial_states", FINAL_STATES})},
        limits=dict.fromkeys(("causal_conv1d", "causal_conv1d_update"), _kernel_of_2_to_4),
    ),
    "triton": Backend(
        "Triton kernels, compiled at first use, on CUDA and ROCm",
        {"selective_scan": f"{_PACKAGE}.triton.scan"},
        packages=("triton",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
    ),
    "cpu": Backend(
        "numba loops on as many threads as torch uses; states are checkpointed and recomputed",
        {"selective_scan": f"{_PACKAGE}.cpu.scan", "causal_conv1d": f"{_PACKAGE}.cpu.conv"},
        devices=frozenset({"cpu"}),
        dtypes=_UP_TO_SINGLE,
    ),
    "batched": Backend(
        "matrix products over all chunks of the sequence at once: few launches at any length",
        {"ssd_scan": f"{_PACKAGE}.chunked.ssd_batched"},
        devices=_CUDA,
    ),
    "chunked": Backend(
        "matrix products over chunks of the sequence; chunks are recomputed for the gradient",
        {"ssd_scan": f"{_PACKAGE}.chunked.ssd"},
    ),
    "plain": Backend(
        "the definition in torch, with a Python loop over steps: the reference, and the kernel of single steps",
        {
            "selective_scan": f"{_PACKAGE}.plain.scan",
            "selective_state_update": f"{_PACKAGE}.plain.update",
            "causal_conv1d": f"{_PACKAGE}.plain.conv",
            "causal_conv1d_update": f"{_PACKAGE}.plain.conv",
            "ssd_scan": f"{_PACKAGE}.plain.ssd",
        },
    ),
}
"""Backends from fastest to slowest: `auto` takes the first that can run a call."""

OPERATIONS = tuple(BACKENDS["plain"].operations)
"""All operations; each has a plain implementation."""


def select_kernel(
    operation: str, backend: str, tensors: Tensors, features: Collection[str] = ()
) -> Callable[[Any], Any]:
    """The operation's function in `backend`, or for `auto` in the first backend that can run the call.

    `features` are requests other than tensors that backends may list as `unsupported`. Raises ManticoreError where the
    backend cannot run the call, and UnknownName where there is no such backend.
    """
    if backend == "auto":
        for row in BACKENDS.values():
            if row.reason_against(operation, tensors, features) is None:
                return row.load(operation)
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, ["auto", *BACKENDS])
    if reason := BACKENDS[backend].reason_against(operation, tensors, features):
        raise ManticoreError(f"backend '{backend}' cannot run this {operation}: {reason}")
    return BACKENDS[backend].load(operation)


def explain_choice(operation: str, tensors: Tensors) -> list[tuple[str, str]]:
    """Each backend with the reason why `auto` takes it or not, in the order in which they are tried."""
    reasons: list[tuple[str, str]] = []
    chosen = False
    for name, row in BACKENDS.items():
        reason = row.reason_against(operation, tensors)
        reasons.append((name, reason or ("slower than the one chosen." if chosen else f"chosen: {row.description}.")))
        chosen = chosen or reason is None
    return reasons


def serving_backends(device: str) -> dict[str, str]:
    """By operation, the backend that `auto` takes for fp32 tensors on `device`."""
    tensors = {"x": torch.zeros(1, device=device)}
    return {
        operation: next(name for name, row in BACKENDS.items() if row.reason_against(operation, tensors) is None)
        for operation in OPERATIONS
    }
