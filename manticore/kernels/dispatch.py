"""Which backend runs a kernel, and why.

A backend is one row of `BACKENDS`: a package with a module for each operation it has, each holding a function of the
operation's name and arguments. Nothing here knows how anything is computed; a module is imported when it first runs.
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

Tensors = Mapping[str, Tensor]

LAST_STATE_GRADIENT = "the gradient of the last state"
FINAL_STATES = "final states"


@cache
def importable(package: str) -> bool:
    """Whether a package is installed and can be imported (a CUDA build on another CUDA cannot)."""
    if find_spec(package) is None:
        return False
    try:
        import_module(package)
    except Exception:
        return False
    return True


@dataclass(frozen=True)
class Backend:
    """One way to run kernels: where it lives, what it needs and which tensors it takes.

    Attributes:
        about: what it is, in a line.
        operations: operation -> module holding a function of that name.
        packages: what must be importable.
        devices: device types it runs on; None means any.
        dtypes: what it takes; None means any real floating point.
        without: arguments and wishes it does not know, by operation.
        limit: by operation, why it cannot take these tensors for another reason; None if it can.
    """

    about: str
    operations: Mapping[str, str]
    packages: tuple[str, ...] = ()
    devices: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limit: Mapping[str, Callable[[Tensors], str | None]] = field(default_factory=dict)

    def load(self, operation: str) -> Callable[..., Any]:
        """The operation's function; its module is imported now."""
        function: Callable[..., Any] = getattr(import_module(self.operations[operation]), operation)
        return function

    def refuses(self, operation: str, tensors: Tensors, wishes: Collection[str] = ()) -> str | None:
        """Why these tensors and wishes cannot be had, as a sentence; None if they can."""
        if operation not in self.operations:
            return f"it has no {operation}."
        for name, x in tensors.items():
            if self.devices is not None and x.device.type not in self.devices:
                return f"'{name}' is on {x.device}; allowed: {', '.join(sorted(self.devices))}."
            if self.dtypes is not None and x.dtype not in self.dtypes:
                return f"'{name}' is {x.dtype}; allowed: {', '.join(sorted(map(str, self.dtypes)))}."
        for name in (*tensors, *wishes):
            if name in self.without.get(operation, ()):
                return f"it does not know {name}."
        if operation in self.limit and (reason := self.limit[operation](tensors)):
            return reason
        for package in self.packages:
            if not importable(package):
                return f"the package '{package}' is not importable here."
        return None


_UP_TO_SINGLE = frozenset({torch.float32, torch.bfloat16, torch.float16})
_HERE = "manticore.kernels.backends"
_CUDA = frozenset({"cuda"})


def _few_states(tensors: Tensors) -> str | None:
    states = tensors["A"].shape[-1] if "A" in tensors else 0
    return f"'A' has {states} states; allowed: at most 256." if states > 256 else None


def _short_kernel(tensors: Tensors) -> str | None:
    kernel = tensors["weight"].shape[-1] if "weight" in tensors else 4
    return None if 2 <= kernel <= 4 else f"'weight' has a kernel of {kernel}; allowed: 2 to 4."


BACKENDS = {
    "mamba_ssm": Backend(
        "mamba-ssm's CUDA and Triton kernels",
        dict.fromkeys(("selective_scan", "selective_state_update", "ssd_scan"), f"{_HERE}.cuda.mamba_ssm"),
        packages=("mamba_ssm",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
        without={"selective_scan": frozenset({"initial_state", LAST_STATE_GRADIENT})},
        limit={"selective_scan": _few_states},
    ),
    "causal_conv1d": Backend(
        "causal-conv1d's CUDA kernels",
        dict.fromkeys(("causal_conv1d", "causal_conv1d_update"), f"{_HERE}.cuda.causal_conv1d"),
        packages=("causal_conv1d",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
        without={"causal_conv1d": frozenset({"initial_states", FINAL_STATES})},
        limit=dict.fromkeys(("causal_conv1d", "causal_conv1d_update"), _short_kernel),
    ),
    "triton": Backend(
        "Triton kernels, compiled at first use, on CUDA and ROCm",
        {"selective_scan": f"{_HERE}.triton.scan"},
        packages=("triton",),
        devices=_CUDA,
        dtypes=_UP_TO_SINGLE,
    ),
    "cpu": Backend(
        "numba loops on as many threads as torch uses; states are checkpointed and recomputed",
        {"selective_scan": f"{_HERE}.cpu.scan", "causal_conv1d": f"{_HERE}.cpu.conv"},
        devices=frozenset({"cpu"}),
        dtypes=_UP_TO_SINGLE,
    ),
    "chunked": Backend(
        "matrix products over chunks of the sequence; chunks are recomputed for the gradient",
        {"ssd_scan": f"{_HERE}.chunked.ssd"},
    ),
    "plain": Backend(
        "the definition in torch, a recurrence as a Python loop: a reference, and a tool for single steps",
        {
            "selective_scan": f"{_HERE}.plain.scan",
            "selective_state_update": f"{_HERE}.plain.update",
            "causal_conv1d": f"{_HERE}.plain.conv",
            "causal_conv1d_update": f"{_HERE}.plain.conv",
            "ssd_scan": f"{_HERE}.plain.ssd",
        },
    ),
}
"""Fastest first: `auto` is the first that takes the tensors."""

OPERATIONS = tuple(BACKENDS["plain"].operations)
"""Every operation has a plain form."""


def choose(operation: str, backend: str, tensors: Tensors, wishes: Collection[str] = ()) -> Callable[..., Any]:
    """The operation as `backend` has it, or for `auto` as the first that takes these tensors.

    `wishes` are what is asked for beside tensors, by a name that backends may list under `without`. Raises
    ManticoreError where the backend cannot run this, UnknownName where there is none.
    """
    if backend == "auto":
        able = (row for row in BACKENDS.values() if row.refuses(operation, tensors, wishes) is None)
        return next(able).load(operation)
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, ["auto", *BACKENDS])
    if reason := BACKENDS[backend].refuses(operation, tensors, wishes):
        raise ManticoreError(f"backend '{backend}' cannot run this {operation}: {reason}")
    return BACKENDS[backend].load(operation)


def explain(operation: str, tensors: Tensors) -> list[tuple[str, str]]:
    """Each backend with why `auto` takes it or passes it over, in the order they are asked."""
    answers: list[tuple[str, str]] = []
    chosen = False
    for name, row in BACKENDS.items():
        reason = row.refuses(operation, tensors)
        answers.append((name, reason or ("slower than the one chosen." if chosen else f"chosen: {row.about}.")))
        chosen = chosen or reason is None
    return answers
