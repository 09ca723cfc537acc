"""Mamba-2's scan: its arguments checked, then run by the backend that suits them."""

from __future__ import annotations

import math

from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import expect, grouped, tensors_among
from manticore.kernels.dispatch import choose


def ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    return_final_states: bool = False,
    chunk_size: int | None = None,
    *,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """The scan of `plain.ssd`, same arguments and results, by the fastest backend that takes the tensors.

    `chunk_size` changes speed and memory, never the result beyond rounding; None leaves it to the backend.
    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"D": D, "z": z, "dt_bias": dt_bias, "initial_states": initial_states}
    tensors = tensors_among({"x": x, "dt": dt, "A": A, "B": B, "C": C, **optional}, optional)
    if x.ndim != 4 or 0 in x.shape:
        allowed = "(batch, length, heads, head_dim), none of them 0"
        raise ManticoreError(f"'x' has shape {tuple(x.shape)}; allowed: {allowed}.")
    batch, length, heads, head_dim = x.shape
    groups, state = grouped("B", B, 4, heads), B.shape[-1]
    if state == 0:
        raise ManticoreError(
            f"'B' has shape {tuple(B.shape)}; allowed: (batch, length, groups, state), none of them 0."
        )
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ManticoreError(f"'chunk_size' is {chunk_size!r}; allowed: None or an int from 1.")
    if not (len(dt_limit) == 2 and dt_limit[0] <= dt_limit[1]):
        raise ManticoreError(f"'dt_limit' is {dt_limit!r}; allowed: (lowest, highest).")
    projection = (batch, length, groups, state)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("x", "z"), tuple(x.shape))
    shapes |= {"B": projection, "C": projection, "dt": (batch, length, heads), "A": (heads,), "dt_bias": (heads,)}
    shapes |= {"D": (heads, head_dim) if D is not None and D.ndim == 2 else (heads,)}
    expect(tensors, shapes | {"initial_states": (batch, heads, head_dim, state)}, "'x', 'B'")
    scan = choose("ssd_scan", backend, tensors)
    out: Tensor | tuple[Tensor, Tensor] = scan(
        x, dt, A, B, C, D, z, dt_bias, initial_states, dt_softplus, dt_limit, return_final_states, chunk_size
    )
    return out
