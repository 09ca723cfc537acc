"""One decoding step of the selective scan: its arguments checked, then run by the backend that suits them."""

from __future__ import annotations

from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import expect, grouped, tensors_among
from manticore.kernels.dispatch import choose


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    backend: str = "auto",
) -> Tensor:
    """The step of `plain.update`, same arguments and results: `state` is overwritten, y returned.

    `backend` is `auto` or a name in `BACKENDS`. Raises ManticoreError where arguments do not fit together or the
    backend, UnknownName where there is no such backend.
    """
    optional = {"D": D, "z": z, "dt_bias": dt_bias}
    tensors = tensors_among({"state": state, "x": x, "dt": dt, "A": A, "B": B, "C": C, **optional}, optional)
    if state.ndim not in (3, 4) or 0 in state.shape:
        forms = "(batch, width, state) or (batch, heads, head_dim, state), none of them 0"
        raise ManticoreError(f"'state' has shape {tuple(state.shape)}; allowed: {forms}.")
    batch, *channels, states = state.shape
    projection: tuple[int, ...] = (batch, states)
    if state.ndim == 4:
        projection = (batch, grouped("B", B, 3, channels[0]), states)
    shapes = dict.fromkeys(("x", "dt", "z"), (batch, *channels)) | dict.fromkeys(("D", "dt_bias"), (*channels,))
    shapes |= {"state": tuple(state.shape), "A": (*channels, states), "B": projection, "C": projection}
    expect(tensors, shapes, "'state', 'B'" if state.ndim == 4 else "'state'")
    y: Tensor = choose("selective_state_update", backend, tensors)(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus)
    return y
