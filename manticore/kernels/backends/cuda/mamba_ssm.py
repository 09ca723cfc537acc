"""mamba-ssm's kernels (https://github.com/state-spaces/mamba) under our arguments.

Its scans want one dtype for everything that runs along the sequence and single precision for the rest.
"""

from __future__ import annotations

import math

from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
from mamba_ssm.ops.triton.selective_state_update import selective_state_update as update_fn
from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
from torch import Tensor

CHUNK = 256


def _single(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float()


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
    initial_state: None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.scan.selective_scan`, from a zero state; the last state carries no gradient."""
    delta, B, C = (x.to(u.dtype) for x in (delta, B, C))
    gate = None if z is None else z.to(u.dtype)
    constants = (_single(D), gate, _single(delta_bias))
    out: Tensor | tuple[Tensor, Tensor] = selective_scan_fn(
        u, delta, A.float(), B, C, *constants, delta_softplus, return_last_state
    )
    return out


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
) -> Tensor:
    """As `plain.update.selective_state_update`."""
    y: Tensor = update_fn(state, x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus)
    return y


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
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.ssd.ssd_scan`."""
    along = [x, dt, A, B.to(x.dtype), C.to(x.dtype)]
    options = {"D": D, "z": z, "dt_bias": dt_bias, "initial_states": initial_states, "dt_limit": dt_limit}
    flags = {"dt_softplus": dt_softplus, "return_final_states": return_final_states}
    out: Tensor | tuple[Tensor, Tensor] = mamba_chunk_scan_combined(*along, chunk_size or CHUNK, **options, **flags)
    return out
