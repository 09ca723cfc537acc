"""The causal convolution fused with its bias and SiLU for the CPU, as one autograd node.

The first steps, whose windows reach back before the sequence, are left to the plain form; the rest is the numba loops'.
Output and gradient lie in memory as the input does, so neither layout costs a copy. The value before the SiLU is
computed again in the backward pass; the weights' gradients are summed in a fixed order, so a run repeats bit for bit.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.cpu.threads import array, share
from manticore.kernels.backends.plain import conv as plain


def _loops() -> ModuleType:
    """The numba loops, compiled at first use: numba is slow to import and `import manticore` should not be."""
    from manticore.kernels.backends.cpu import conv_loops

    return conv_loops


def _walkable(x: Tensor, along_time: bool) -> Tensor:
    """In single precision, the asked axis packed; its own memory where that can be."""
    x = x.detach().to(torch.float32)
    if x.stride(2 if along_time else 1) == 1:
        return x
    return x.contiguous() if along_time else x.mT.contiguous().mT


def _new(shape: torch.Size, along_time: bool) -> Tensor:
    batch, width, length = shape
    return torch.empty(shape) if along_time else torch.empty(batch, length, width).mT


def _flat(x: Tensor) -> tuple[Any, tuple[int, ...]]:
    """The memory a tensor spans, and its strides there."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((span,), (1,)).numpy(), x.stride()


def _fixed(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, along_time: bool) -> tuple[Any, ...]:
    """What both passes hand to the loops first."""
    shift = torch.zeros(x.shape[1]) if bias is None else bias
    constants = (array(weight.mT, packed=True), array(shift, packed=True), silu)
    return along_time, tuple(x.shape), *constants, *_flat(_walkable(x, along_time))


def _head(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, activation: str | None
) -> tuple[Any, Any]:
    """The first kernel - 1 outputs in plain form, with the leaves their gradient reaches: of x, then the others."""
    given = (x[..., : weight.shape[1] - 1], weight, bias, initial)
    leaves: Any = [None if v is None else v.detach().to(torch.float32).requires_grad_() for v in given]
    first, weight, bias, initial = leaves
    with torch.enable_grad():
        return plain.causal_conv1d(first, weight, bias, initial, activation=activation), leaves


class _CausalConv1d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, activation: str | None
    ) -> Tensor:
        loops = _loops()
        along_time = x.stride(1) != 1 or x.shape[1] == 1
        blocks, chunks = loops.grid(tuple(x.shape), along_time)
        y = _new(x.shape, along_time)
        arrays = (*_fixed(x, weight, bias, activation is not None, along_time), *_flat(y))
        share(lambda first, last: loops.forward(first, last, *arrays), x.shape[0] * blocks * chunks)
        head, _ = _head(x, weight, bias, initial, activation)
        y[..., : head.shape[-1]] = head

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
        dy, dx = _walkable(dy, along_time), _new(x.shape, along_time)
        sums_PKW = torch.empty(x.shape[0] * chunks, weight.shape[1] + 1, x.shape[1])
        arrays = (*_fixed(x, weight, bias, ctx.activation is not None, along_time), *_flat(dy), *_flat(dx))
        share(lambda first, last: loops.backward(first, last, *arrays, sums_PKW.numpy()), x.shape[0] * blocks * chunks)
        sums_KW = sums_PKW.sum(0)

        head, leaves = _head(x, weight, bias, initial, ctx.activation)
        start = head.shape[-1]
        torch.autograd.backward(head, dy[..., :start], inputs=[v for v in leaves if v is not None])
        gradients: Any = [None if v is None else v.grad for v in leaves]
        dhead, dweight, dbias, dinitial = gradients
        dx[..., :start] += dhead
        dweight += sums_KW[:-1].mT
        if bias is not None:
            dbias += sums_KW[-1]
        pairs = zip((dx, dweight, dbias, dinitial), (x, weight, bias, initial), strict=True)
        return *(None if v is None else g.to(v.dtype) for g, v in pairs), None


_apply: Any = _CausalConv1d.apply


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.causal_conv1d`, for CPU tensors in fp32, bf16 or fp16; once differentiable. y lies in memory as x."""
    y: Tensor = _apply(x, weight, bias, initial_states, activation)
    if not return_final_states:
        return y
    ahead = weight.shape[1] - 1
    latest = x[..., max(0, x.shape[-1] - ahead) :]
    return y, plain.preceded(latest, initial_states, ahead)[..., latest.shape[-1] :]
