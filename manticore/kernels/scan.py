"""The selective scan of Mamba: its arguments checked, then run by the backend that suits them."""

from __future__ import annotations

import torch
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import expect, tensors_among
from manticore.kernels.dispatch import LAST_STATE_GRADIENT, choose


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
    """The scan of `plain.scan`, same arguments and results, by the fastest backend that takes the tensors.

    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"D": D, "z": z, "delta_bias": delta_bias, "initial_state": initial_state}
    tensors = tensors_among({"u": u, "delta": delta, "A": A, "B": B, "C": C, **optional}, optional)
    if u.ndim != 3 or 0 in u.shape:
        raise ManticoreError(f"'u' has shape {tuple(u.shape)}; allowed: (batch, width, length), none of them 0.")
    (batch, width, length), state = u.shape, A.shape[-1] if A.ndim else 0
    if tuple(A.shape) != (width, state) or state == 0:
        raise ManticoreError(f"'A' has shape {tuple(A.shape)}; allowed: (width, state) with width {width} as in 'u'.")
    sequence, projection, channels = (batch, width, length), (batch, state, length), (width,)
    shapes = {"u": sequence, "delta": sequence, "z": sequence, "A": (width, state), "B": projection, "C": projection}
    shapes |= {"D": channels, "delta_bias": channels, "initial_state": (batch, width, state)}
    expect(tensors, shapes, "'u', 'A'")
    followed = return_last_state and torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())
    scan = choose("selective_scan", backend, tensors, {LAST_STATE_GRADIENT} if followed else ())
    out: Tensor | tuple[Tensor, Tensor] = scan(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state, initial_state
    )
    return out
