"""The selective scan on the CPU as one autograd node, which allocates the arrays and calls the numba loops.

Arithmetic is in single precision. The states of a sequence are never all in memory: the forward pass saves the state
before each chunk of `CHUNK` steps, and the backward pass recomputes the others. Gradients that are sums over width or
batch are summed in a fixed order, so that runs repeat to the bit.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.cpu.threads import as_array, parallel_for
from manticore.kernels.ops import ScanArgs


def _loops() -> ModuleType:
    """The numba loops. They are imported and compiled at first use, which keeps `import manticore` fast."""
    from manticore.kernels.backends.cpu import scan_loops

    return scan_loops


def _inputs(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, delta_bias: Any) -> list[Any]:
    """The arrays that both passes read, in the order of the loops' arguments; absent ones become zeros."""
    width = u.shape[1]
    D = torch.zeros(width) if D is None else D
    z = torch.zeros(1, 1, 1) if z is None else z
    bias = torch.zeros(width) if delta_bias is None else delta_bias
    sequences = [as_array(u), as_array(delta), as_array(A, packed=True), as_array(B), as_array(C)]
    return [*sequences, as_array(D, packed=True), as_array(z), as_array(bias, packed=True)]


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        initial_state: Tensor | None,
        delta_softplus: bool,
        save_states: bool,
    ) -> tuple[Tensor, Tensor]:
        loops = _loops()
        (batch, width, length), states = u.shape, A.shape[1]
        blocks, chunks = -(-width // loops.LANES), -(-length // loops.CHUNK)
        y = torch.empty(batch, length, width).transpose(1, 2)
        last = torch.empty(batch, width, states)
        saved_shape = (batch, blocks, chunks, states, loops.LANES) if save_states else (1, 1, 1, 1, 1)
        saved_BKSNW = torch.empty(saved_shape)  # the state before each chunk S, for each block K of channels
        start = torch.zeros(batch, width, states) if initial_state is None else initial_state

        arrays = [*_inputs(u, delta, A, B, C, D, z, delta_bias), as_array(start, packed=True)]
        outputs = [y.numpy(), last.numpy(), saved_BKSNW.numpy()]
        flags = (delta_softplus, z is not None, save_states)
        parallel_for(lambda first, end: loops.forward(first, end, *arrays, *flags, *outputs), batch * blocks)

        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, initial_state, saved_BKSNW)
        ctx.delta_softplus = delta_softplus
        ctx.set_materialize_grads(False)
        return y.to(u.dtype), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        loops = _loops()
        u, delta, A, B, C, D, z, delta_bias, initial_state, saved_BKSNW = ctx.saved_tensors
        (batch, width, length), states = u.shape, A.shape[1]
        blocks = saved_BKSNW.shape[1]
        dy = torch.zeros(1, 1, 1).expand(batch, width, length) if dy is None else dy
        dlast = torch.zeros(batch, width, states) if dlast is None else dlast

        arrays = [*_inputs(u, delta, A, B, C, D, z, delta_bias), saved_BKSNW.numpy()]
        arrays += [as_array(dy), as_array(dlast, packed=True)]
        flags = (ctx.delta_softplus, z is not None)
        du, ddelta = torch.empty_like(u, dtype=torch.float32), torch.empty_like(delta, dtype=torch.float32)
        dz = torch.empty(1, 1, 1) if z is None else torch.empty_like(z, dtype=torch.float32)
        dA, dinitial = torch.empty(batch, width, states), torch.empty(batch, width, states)
        dB, dC = torch.empty(blocks, batch, length, states), torch.empty(blocks, batch, length, states)
        dD, dbias = torch.empty(batch, width), torch.empty(batch, width)
        outputs = [x.numpy() for x in (du, ddelta, dz, dA, dB, dC, dD, dbias, dinitial)]
        parallel_for(lambda first, end: loops.backward(first, end, *arrays, *flags, *outputs), batch * blocks)

        gradients = (du, ddelta, dA.sum(0), dB.sum(0).mT, dC.sum(0).mT, dD.sum(0), dz, dbias.sum(0), dinitial)
        inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
        return *(None if x is None else g.to(x.dtype) for x, g in zip(inputs, gradients, strict=True)), None, None


_apply: Any = _SelectiveScan.apply


def selective_scan(args: ScanArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.selective_scan`; for CPU tensors in fp32, bf16 or fp16, and differentiable once."""
    tensors = (args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state)
    save_states = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last = _apply(*tensors, args.delta_softplus, save_states)
    return (y, last) if args.return_last_state else y
