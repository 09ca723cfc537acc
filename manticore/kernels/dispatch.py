"""Which backend runs a selective scan, and the checks every scan passes first.

A backend is one row of `BACKENDS` and one module holding a function `selective_scan` with the arguments of
`plain.selective_scan`. Nothing here knows how a scan is computed; a module is imported when its backend first runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from manticore.errors import ManticoreError, UnknownName


@dataclass(frozen=True)
class Backend:
    """One way to run the scan: where it lives and which tensors it takes."""

    module: str
    devices: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None

    def load(self) -> Callable[..., Any]:
        """The scan of this backend; its module is imported now."""
        scan: Callable[..., Any] = import_module(self.module).selective_scan
        return scan

    def refuses(self, tensors: Mapping[str, Tensor]) -> str | None:
        """Why these tensors cannot be taken, as the end of a sentence; None if they can."""
        for name, x in tensors.items():
            if self.devices is not None and x.device.type not in self.devices:
                return f"'{name}' is on {x.device}; allowed: {', '.join(sorted(self.devices))}."
            if self.dtypes is not None and x.dtype not in self.dtypes:
                return f"'{name}' is {x.dtype}; allowed: {', '.join(sorted(map(str, self.dtypes)))}."
        return None


_UP_TO_SINGLE = frozenset({torch.float32, torch.bfloat16, torch.float16})

BACKENDS = {
    "cpu": Backend("manticore.kernels.cpu", devices=frozenset({"cpu"}), dtypes=_UP_TO_SINGLE),
    "plain": Backend("manticore.kernels.plain"),
}
"""Fastest first: `auto` is the first that takes the tensors."""


def choose(backend: str, tensors: Mapping[str, Tensor]) -> Backend:
    """The backend called `backend`, or the first that takes these tensors for `auto`. Raises ManticoreError."""
    if backend == "auto":
        return next(row for row in BACKENDS.values() if row.refuses(tensors) is None)
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, ["auto", *BACKENDS])
    if reason := BACKENDS[backend].refuses(tensors):
        raise ManticoreError(f"backend '{backend}' cannot run this scan: {reason}")
    return BACKENDS[backend]


def check(tensors: Mapping[str, Tensor]) -> None:
    """Raise ManticoreError unless shapes fit each other, dtypes are real floats and the device is one."""
    u, A = tensors["u"], tensors["A"]
    if u.ndim != 3 or 0 in u.shape:
        raise ManticoreError(f"'u' has shape {tuple(u.shape)}; allowed: (batch, width, length), none of them 0.")
    (batch, width, length), state = u.shape, A.shape[-1] if A.ndim else 0
    if tuple(A.shape) != (width, state) or state == 0:
        raise ManticoreError(f"'A' has shape {tuple(A.shape)}; allowed: (width, state) with width {width} as in 'u'.")
    sequence, projection, channels = (batch, width, length), (batch, state, length), (width,)
    expected = {
        "u": sequence,
        "delta": sequence,
        "A": (width, state),
        "B": projection,
        "C": projection,
        "D": channels,
        "z": sequence,
        "delta_bias": channels,
        "initial_state": (batch, width, state),
    }
    for name, x in tensors.items():
        if tuple(x.shape) != expected[name]:
            raise ManticoreError(f"'{name}' has shape {tuple(x.shape)}; allowed with these 'u', 'A': {expected[name]}.")
        if not x.is_floating_point():
            raise ManticoreError(f"'{name}' is {x.dtype}; allowed: a real floating-point dtype.")
        if x.device != u.device:
            raise ManticoreError(f"'{name}' is on {x.device}; allowed: {u.device}, where 'u' is.")


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    initial_state: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """The scan of `plain.selective_scan`, same arguments and results, by the fastest backend that takes the tensors.

    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"D": D, "z": z, "delta_bias": delta_bias, "initial_state": initial_state}
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C, **optional}
    for name, x in given.items():
        if not (isinstance(x, Tensor) or (x is None and name in optional)):
            raise ManticoreError(f"'{name}' is {type(x).__name__}; allowed: a torch.Tensor.")
    tensors = {name: x for name, x in given.items() if x is not None}
    check(tensors)
    scan: Callable[..., Tensor | tuple[Tensor, Tensor]] = choose(backend, tensors).load()
    return scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state, initial_state)
