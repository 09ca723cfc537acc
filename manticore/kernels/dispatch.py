"""Which backend runs a kernel, and why.

A backend is one row of `BACKENDS`: a package with a module for each operation it has, each holding a function of the
operation's name and arguments. Nothing here knows how anything is computed; a module is imported when it first runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from manticore.errors import ManticoreError, UnknownName

Tensors = Mapping[str, Tensor]


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
        without: arguments it does not know, by operation.
    """

    about: str
    operations: Mapping[str, str]
    packages: tuple[str, ...] = ()
    devices: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def load(self, operation: str) -> Callable[..., Any]:
        """The operation's function; its module is imported now."""
        function: Callable[..., Any] = getattr(import_module(self.operations[operation]), operation)
        return function

    def refuses(self, operation: str, tensors: Tensors) -> str | None:
        """Why these tensors cannot be taken, as a sentence; None if they can."""
        if operation not in self.operations:
            return f"it has no {operation}."
        for name, x in tensors.items():
            if self.devices is not None and x.device.type not in self.devices:
                return f"'{name}' is on {x.device}; allowed: {', '.join(sorted(self.devices))}."
            if self.dtypes is not None and x.dtype not in self.dtypes:
                return f"'{name}' is {x.dtype}; allowed: {', '.join(sorted(map(str, self.dtypes)))}."
            if name in self.without.get(operation, ()):
                return f"it does not know '{name}'; allowed: None."
        for package in self.packages:
            if not importable(package):
                return f"the package '{package}' is not importable here."
        return None


_UP_TO_SINGLE = frozenset({torch.float32, torch.bfloat16, torch.float16})
_HERE = "manticore.kernels"

BACKENDS = {
    "cpu": Backend(
        "numba loops on as many threads as torch uses; states are checkpointed and recomputed",
        {"selective_scan": f"{_HERE}.cpu.scan"},
        devices=frozenset({"cpu"}),
        dtypes=_UP_TO_SINGLE,
    ),
    "plain": Backend(
        "the recurrence in a Python loop: a reference, not a tool",
        {"selective_scan": f"{_HERE}.plain.scan"},
    ),
}
"""Fastest first: `auto` is the first that takes the tensors."""

OPERATIONS = tuple(BACKENDS["plain"].operations)
"""Every operation has a plain form."""


def choose(operation: str, backend: str, tensors: Tensors) -> Callable[..., Any]:
    """The operation as `backend` has it, or for `auto` as the first that takes these tensors. Raises ManticoreError."""
    if backend == "auto":
        return next(row for row in BACKENDS.values() if row.refuses(operation, tensors) is None).load(operation)
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, ["auto", *BACKENDS])
    if reason := BACKENDS[backend].refuses(operation, tensors):
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
