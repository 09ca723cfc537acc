"""The kernels of causal-conv1d (https://github.com/Dao-AILab/causal-conv1d), for kernel sizes 2 to 4."""

from __future__ import annotations

from torch import Tensor

from manticore.kernels.hub import package_function
from manticore.kernels.ops import ConvArgs, ConvUpdateArgs

causal_conv1d_fn = package_function("causal_conv1d", "causal_conv1d_fn")
update_fn = package_function("causal_conv1d", "causal_conv1d_update")


def causal_conv1d(args: ConvArgs) -> Tensor:
    """See `ops.causal_conv1d`; without initial and final states."""
    x, bias = args.x, None if args.bias is None else args.bias.to(args.x.dtype)
    out: Tensor = causal_conv1d_fn(x, args.weight.to(x.dtype), bias, activation=args.activation)
    return out


def causal_conv1d_update(args: ConvUpdateArgs) -> Tensor:
    """See `ops.causal_conv1d_update`."""
    x, bias = args.x, None if args.bias is None else args.bias.to(args.x.dtype)
    out: Tensor = update_fn(x, args.conv_state, args.weight.to(x.dtype), bias, args.activation)
    return out
