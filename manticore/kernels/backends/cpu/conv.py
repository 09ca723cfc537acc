"""The causal convolution with bias and SiLU on the CPU as one autograd node, which calls the numba loops.

The first K - 1 outputs, whose windows reach back before the sequence, are computed by the plain backend, the others by
the loops. Output and gradient have the memory layout of the input, so neither layout costs a copy. The backward pass
recomputes the value before the SiLU. Gradients of the weights are summed in a fixed order, so that runs repeat to the
bit.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.cpu.threads import as_array, parallel_for
from manticore.kernels.backends.plain import conv as plain
from manticore.kernels.ops import ConvArgs


def _loops() -> ModuleType:
    """The numba loops. They are imported and compiled at first use, which keeps `import manticore` fast."""
    from manticore.kernels.backends.cpu import conv_loops

    return conv_loops


def _with_packed_axis(x: Tensor, along_time: bool) -> Tensor:
    """`x` in single precision with neighbouring steps (`along_time`) or channels adjacent in memory."""
    x = x.detach().to(torch.float32)
    if x.stride(2 if along_time else 1) == 1:
        return x
    return x.contiguous() if along_time else x.mT.contiguous().mT


def _empty(shape: torch.Size, along_time: bool) -> Tensor:
    batch, width, length = shape
    return torch.empty(shape) if along_time else torch.empty(batch, length, width).mT


def _flat_view(x: Tensor) -> tuple[Any, tuple[int, ...]]:
    """The memory that a tensor spans as a flat array, and the tensor's strides in it."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((span,), (1,)).numpy(), x.stride()


def _inputs(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, along_time: bool) -> tuple[Any, ...]:
    """The first arguments of both loops."""
    bias = torch.zeros(x.shape[1]) if bias is None else bias
    constants = (as_array(weight.mT, packed=True), as_array(bias, packed=True), silu)
    return along_time, tuple(x.shape), *constants, *_flat_view(_with_packed_axis(x, along_time))


def _first_outputs(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, activation: str | None
) -> tuple[Any, Any]:
    """The first K - 1 outputs by the plain backend, and the leaves (x, weight, bias, initial) of their graph."""
    inputs = (x[..., : weight.shape[1] - 1], weight, bias, initial)
    leaves: Any = [None if v is None else v.detach().to(torch.float32).requires_grad_() for v in inputs]
    first_x, weight, bias, initial = leaves
    with torch.enable_grad():
        return plain.causal_conv1d(ConvArgs(first_x, weight, bias, initial, activation=activation)), leaves


class _CausalConv1d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, activation: str | None
    ) -> Tensor:
        loops = _loops()
        along_time = x.stride(1) != 1 or x.shape[1] == 1  # the axis of lines; channels if they are adjacent in memory
        blocks, chunks = loops.grid(tuple(x.shape), along_time)
        y = _empty(x.shape, along_time)
        arrays = (*_inputs(x, weight, bias, activation is not None, along_time), *_flat_view(y))
        parallel_for(lambda first, last: loops.forward(first, last, *arrays), x.shape[0] * blocks * chunks)
        first_y, _ = _first_outputs(x, weight, bias, initial, activation)
        y[..., : first_y.shape[-1]] = first_y

        ctx.save_for_backward(x, weight, bias, initial)
        ctx.activation, ctx.along_time = activation, along_time
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        loops = _loops()
        x, weight, bias, initial = ctx.saved_tensors
        along_time = ctx.along_time
        blocks, chunks = loops.grid(tuple(x.shape), along_time)
        dy, dx = _with_packed_axis(dy, along_time), _empty(x.shape, along_time)
        sums_PKW = torch.empty(x.shape[0] * chunks, weight.shape[1] + 1, x.shape[1])
        inputs = _inputs(x, weight, bias, ctx.activation is not None, along_time)
        arrays = (*inputs, *_flat_view(dy), *_flat_view(dx), sums_PKW.numpy())
        parallel_for(lambda first, last: loops.backward(first, last, *arrays), x.shape[0] * blocks * chunks)
        sums_KW = sums_PKW.sum(0)  # rows: the gradient of each weight, then that of the bias

        first_y, leaves = _first_outputs(x, weight, bias, initial, ctx.activation)
        start = first_y.shape[-1]
        torch.autograd.backward(first_y, dy[..., :start], inputs=[v for v in leaves if v is not None])
        gradients: Any = [None if v is None else v.grad for v in leaves]
        dfirst_x, dweight, dbias, dinitial = gradients
        dx[..., :start] += dfirst_x
        dweight += sums_KW[:-1].mT
        if bias is not None:
            dbias += sums_KW[-1]
        pairs = zip((dx, dweight, dbias, dinitial), (x, weight, bias, initial), strict=True)
        return *(None if v is None else g.to(v.dtype) for g, v in pairs), None


_apply: Any = _CausalConv1d.apply


def causal_conv1d(args: ConvArgs) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.causal_conv1d`; for CPU tensors in fp32, bf16 or fp16, and differentiable once."""
    x, before = args.x, args.weight.shape[1] - 1
    y: Tensor = _apply(x, args.weight, args.bias, args.initial_states, args.activation)
    if not args.return_final_states:
        return y
    latest = x[..., max(0, x.shape[-1] - before) :]
    return y, plain.prepend_states(latest, args.initial_states, before)[..., latest.shape[-1] :]
