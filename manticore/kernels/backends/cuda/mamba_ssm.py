"""The kernels of mamba-ssm (https://github.com/state-spaces/mamba), prebuilt from the hub or of the package.

Its scan takes one dtype for all tensors with a step axis, and fp32 for the others.
"""

from __future__ import annotations

from torch import Tensor

from manticore.kernels.hub import package_function
from manticore.kernels.ops import ScanArgs, SsdArgs, StateUpdateArgs

selective_scan_fn = package_function("mamba_ssm", "ops.selective_scan_interface.selective_scan_fn")
update_fn = package_function("mamba_ssm", "ops.triton.selective_state_update.selective_state_update")
mamba_chunk_scan_combined = package_function("mamba_ssm", "ops.triton.ssd_combined.mamba_chunk_scan_combined")

CHUNK = 256
"""Default steps of a chunk."""


def selective_scan(args: ScanArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.selective_scan`; without an initial state. The last state carries no gradient."""
    u = args.u
    delta, B, C = (x.to(u.dtype) for x in (args.delta, args.B, args.C))
    z = None if args.z is None else args.z.to(u.dtype)
    D, bias = (None if x is None else x.float() for x in (args.D, args.delta_bias))
    out: Tensor | tuple[Tensor, Tensor] = selective_scan_fn(
        u, delta, args.A.float(), B, C, D, z, bias, args.delta_softplus, args.return_last_state
    )
    return out


def selective_state_update(args: StateUpdateArgs) -> Tensor:
    """See `ops.selective_state_update`."""
    optional = {"D": args.D, "z": args.z, "dt_bias": args.dt_bias, "dt_softplus": args.dt_softplus}
    y: Tensor = update_fn(args.state, args.x, args.dt, args.A, args.B, args.C, **optional)
    return y


def ssd_scan(args: SsdArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.ssd_scan`."""
    x = args.x
    out: Tensor | tuple[Tensor, Tensor] = mamba_chunk_scan_combined(
        x,
        args.dt,
        args.A,
        args.B.to(x.dtype),
        args.C.to(x.dtype),
        args.chunk_size or CHUNK,
        D=args.D,
        z=args.z,
        dt_bias=args.dt_bias,
        initial_states=args.initial_states,
        dt_softplus=args.dt_softplus,
        dt_limit=args.dt_limit,
        return_final_states=args.return_final_states,
    )
    return out
