"""The selective scan fused for the CPU, as one autograd node: what to allocate, what to hand to the numba loops.

Single precision inside whatever comes in. The states of a sequence are never all in memory: the forward pass keeps one
in every `CHUNK` and the backward pass recomputes the rest. Gradients summed over width or batch are summed in a fixed
order, so a run repeats bit for bit. Knows nothing of vector code (`scan_loops`) or threads (`threads`).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.cpu.threads import array, share


def _loops() -> ModuleType:
    """The numba loops, compiled at first use: numba is slow to import and `import manticore` should not be."""
    from manticore.kernels.backends.cpu import scan_loops

    return scan_loops


def _inputs(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, delta_bias: Any) -> list[Any]:
    """The arrays both passes read, in their order; what is absent becomes zeros."""
    width = u.shape[1]
    skip = torch.zeros(width) if D is None else D
    gate = torch.zeros(1, 1, 1) if z is None else z
    bias = torch.zeros(width) if delta_bias is None else delta_bias
    sequences = [array(u), array(delta), array(A, packed=True), array(B), array(C)]
    return [*sequences, array(skip, packed=True), array(gate), array(bias, packed=True)]


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
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        loops = _loops()
        (batch, width, length), states = u.shape, A.shape[1]
        blocks, chunks = -(-width // loops.LANES), -(-length // loops.CHUNK)
        y = torch.empty(batch, length, width).transpose(1, 2)
        last = torch.empty(batch, width, states)
        kept = torch.empty(batch, blocks, chunks, states, loops.LANES) if keep else torch.empty(1, 1, 1, 1, 1)
        start = torch.zeros(batch, width, states) if initial_state is None else initial_state

        arrays = [*_inputs(u, delta, A, B, C, D, z, delta_bias), array(start, packed=True)]
        outputs = [y.numpy(), last.numpy(), kept.numpy()]
        flags = (delta_softplus, z is not None, keep)
        share(lambda first, end: loops.forward(first, end, *arrays, *flags, *outputs), batch * blocks)

        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, initial_state, kept)
        ctx.delta_softplus = delta_softplus
        ctx.set_materialize_grads(False)
        return y.to(u.dtype), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        loops = _loops()
        u, delta, A, B, C, D, z, delta_bias, initial_state, kept = ctx.saved_tensors
        (batch, width, length), states = u.shape, A.shape[1]
        blocks = kept.shape[1]
        dy = torch.zeros(1, 1, 1).expand(batch, width, length) if dy is None else dy
        dlast = torch.zeros(batch, width, states) if dlast is None else dlast

        arrays = [*_inputs(u, delta, A, B, C, D, z, delta_bias), kept.numpy(), array(dy), array(dlast, packed=True)]
        flags = (ctx.delta_softplus, z is not None)
        du, ddelta = torch.empty_like(u, dtype=torch.float32), torch.empty_like(delta, dtype=torch.float32)
        dz = torch.empty(1, 1, 1) if z is None else torch.empty_like(z, dtype=torch.float32)
        dA, dinitial = torch.empty(batch, width, states), torch.empty(batch, width, states)
        dB, dC = torch.empty(blocks, batch, length, states), torch.empty(blocks, batch, length, states)
        dD, dbias = torch.empty(batch, width), torch.empty(batch, width)
        outputs = [x.numpy() for x in (du, ddelta, dz, dA, dB, dC, dD, dbias, dinitial)]
        share(lambda first, end: loops.backward(first, end, *arrays, *flags, *outputs), batch * blocks)

        gradients = (du, ddelta, dA.sum(0), dB.sum(0).mT, dC.sum(0).mT, dD.sum(0), dz, dbias.sum(0), dinitial)
        inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
        return *(None if x is None else g.to(x.dtype) for x, g in zip(inputs, gradients, strict=True)), None, None


_apply: Any = _SelectiveScan.apply


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
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.selective_scan`, for CPU tensors in fp32, bf16 or fp16; once differentiable."""
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    y, last = _apply(*inputs, delta_softplus, keep)
    return (y, last) if return_last_state else y
