"""The selective scan in Triton, as one autograd node: what to allocate, how to cut it into tiles, what to launch.

Single precision inside whatever comes in. No state of the sequence is kept but one for every tile, and the backward
pass recomputes the rest. Sums over channels, steps and batch are of partial sums in a fixed order, so a run repeats bit
for bit. Knows nothing of what happens in a tile (`scan_kernels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.triton import scan_kernels as kernels


@dataclass(frozen=True)
class Tiling:
    """How a scan is cut.

    Attributes:
        channels: channels of a tile, a power of two. For every so many the backward pass holds a (batch, state, length)
            in fp32 for B and one for C: at 32 and 16 states, as much as `u` in fp32.
        steps: steps of a tile, a power of two. For every so many a (batch, width, state) in fp32 is kept for the
            backward pass: at 32 and 16 states, half of `u` in fp32. Longer tiles scan through more levels.
        serial: whether one program walks all tiles of its channels, taking each exponential once; otherwise each tile
            has a program, after a pass of half the cost that finds the states between them.
    """

    channels: int = 32
    steps: int = 32
    serial: bool = True


SERIAL_FROM = 3
"""Serial programs for each multiprocessor that keep it busy enough to save the pass that finds the states."""


def tiling_for(u: Tensor) -> Tiling:
    """Serial where batch and width alone fill the device, or there is one tile anyway.

    On ROCm one tile is the only reason: a serial program hands states from thread to thread through memory, and there
    Triton's barrier waits for shared memory alone.
    """
    batch, width, length = u.shape
    tiling = Tiling(channels=min(Tiling.channels, _power_of_two(width)), steps=min(Tiling.steps, _power_of_two(length)))
    cores = torch.cuda.get_device_properties(u.device).multi_processor_count if u.is_cuda else 1
    full = batch * _blocks(width, tiling.channels) >= SERIAL_FROM * cores and torch.version.hip is None
    return Tiling(tiling.channels, tiling.steps, serial=full or length <= tiling.steps)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


class Sequence(NamedTuple):
    """A tensor of (batch, row, step) as kernels take it: where it starts, and its strides."""

    start: Tensor
    batch: int
    row: int
    step: int


def _sequence(x: Tensor | None) -> Sequence | None:
    return None if x is None else Sequence(x, *x.stride())


def _lengthwise(x: Tensor | None) -> Any:
    """With its steps side by side: one copy costs less than scanning across threads, which is what else they become."""
    return x if x is None or x.stride(2) in (0, 1) else x.contiguous()


def _packed(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _rates(A: Tensor) -> Tensor:
    """A / ln 2 as (state, width); -inf becomes a finite number with the same powers, for 0 times it is to be 0."""
    return (A.float().mT.contiguous() / log(2)).clamp(min=-1e30)


class _Cut:
    """One scan's shape under a tiling, and what is launched on it."""

    def __init__(self, u: Tensor, A: Tensor, tiling: Tiling, softplus: bool) -> None:
        (self.batch, self.width, self.length), self.states = u.shape, A.shape[1]
        self.tiling, self.rate = tiling, _rates(A)
        self.blocks, self.tiles = _blocks(self.width, tiling.channels), _blocks(self.length, tiling.steps)
        self.shape = {"N": self.states, "SOFTPLUS": softplus}
        self.block = {"BLOCK_W": tiling.channels, "BLOCK_T": tiling.steps}

    def empty(self, *shape: int) -> Tensor:
        return self.rate.new_empty(shape)

    def slots(self, keep: bool) -> Tensor:
        """Room for the state before each tile and after the last, or for a ring of two."""
        count = self.tiles + 1 if keep or not self.tiling.serial else 2
        return self.empty(self.batch, count, self.states, self.width)

    def warps(self, elements: int) -> int:
        """Warps that leave each thread so many elements of a tile."""
        return max(1, self.tiling.channels * self.tiling.steps // (32 * elements))

    def walk(self, kernel: Any, *args: Any, elements: int) -> None:
        """Launch `kernel` over all tiles."""
        grid = (self.batch * self.blocks * (1 if self.tiling.serial else self.tiles),)
        flags = {**self.shape, **self.block, "SERIAL": self.tiling.serial}
        kernel[grid](*args, **flags, num_warps=self.warps(elements))

    def fill(
        self, slots: Tensor, delta: Tensor, bias: Tensor | None, value: Tensor, z: Any, B: Tensor, back: bool
    ) -> None:
        """Fill every slot from the one at the end, for programs that do not walk."""
        if self.tiling.serial:
            return
        total = self.empty(self.batch, self.tiles, self.width)
        sequences = [_sequence(x) for x in (delta, value, z, B)]
        sizes = (self.width, self.length, self.tiles)
        grid = (self.batch * self.blocks * self.tiles,)
        args = (*sequences, bias, self.rate, total, slots, *sizes)
        kernels.summarise[grid](*args, **self.shape, **self.block, BACKWARD=back, num_warps=self.warps(16))
        grid = (self.batch * self.blocks * self.states,)
        block = {"BLOCK_W": self.tiling.channels, "BLOCK_T": min(32, _power_of_two(self.tiles))}
        kernels.link[grid](self.rate, total, slots, self.width, self.tiles, N=self.states, BACKWARD=back, **block)


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
        tiling: Tiling,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
        cut, y = _Cut(u, A, tiling, delta_softplus), torch.empty_like(u)
        u, delta, z = map(_lengthwise, (u, delta, z))
        skip, bias = _packed(D), _packed(delta_bias)
        states = cut.slots(keep)
        states[:, 0] = 0.0 if initial_state is None else initial_state.mT
        with torch.cuda.device_of(u):
            cut.fill(states, delta, bias, u, None, B, back=False)
            inputs = (_sequence(u), _sequence(delta), cut.rate, _sequence(B), _sequence(C), skip, _sequence(z), bias)
            sizes = (cut.width, cut.length, cut.tiles, states.shape[1])
            cut.walk(kernels.forward, *inputs, _sequence(y), states, *sizes, elements=16)
        ctx.save_for_backward(*given, states if keep else None)
        ctx.delta_softplus, ctx.tiling = delta_softplus, tiling
        ctx.set_materialize_grads(False)
        return y, states[:, cut.tiles % states.shape[1]].mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        *given, states = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias, _ = given
        cut = _Cut(u, A, ctx.tiling, ctx.delta_softplus)
        skip, bias = _packed(D), _packed(delta_bias)
        grads = cut.slots(keep=False)
        grads[:, cut.tiles % grads.shape[1]] = 0.0 if dlast is None else dlast.mT

        du, ddelta, dz = torch.empty_like(u), torch.empty_like(delta), None if z is None else torch.empty_like(z)
        dy = u.new_zeros(()).expand(u.shape) if dy is None else dy
        u, delta, z, dy = map(_lengthwise, (u, delta, z, dy))
        by_tile, by_block = (cut.batch, cut.tiles), (cut.blocks, cut.batch, cut.states, cut.length)
        dA, dB, dC = cut.empty(*by_tile, cut.states, cut.width), cut.empty(*by_block), cut.empty(*by_block)
        dD, dbias = (None if x is None else cut.empty(*by_tile, cut.width) for x in (D, delta_bias))
        with torch.cuda.device_of(u):
            cut.fill(grads, delta, bias, dy, z, C, back=True)
            inputs = (_sequence(u), _sequence(delta), cut.rate, _sequence(B), _sequence(C), skip, _sequence(z), bias)
            outputs = (_sequence(du), _sequence(ddelta), _sequence(dz), dA, dB, dC, dD, dbias)
            sizes = (cut.batch, cut.width, cut.length, cut.tiles, grads.shape[1])
            cut.walk(kernels.backward, *inputs, _sequence(dy), states, grads, *outputs, *sizes, elements=8)

        per_A, per_D, per_bias = (None if x is None else x.sum((0, 1)) for x in (dA.mT, dD, dbias))
        gradients = (du, ddelta, per_A, dB.sum(0), dC.sum(0), per_D, dz, per_bias, grads[:, 0].mT)
        pairs = zip(given, gradients, strict=True)
        return *(None if x is None or g is None else g.to(x.dtype) for x, g in pairs), None, None, None


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
    *,
    tiling: Tiling | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """As `plain.selective_scan`, for CUDA tensors in fp32, bf16 or fp16; once differentiable.

    `tiling` is how the work is cut, by default as suits the device.
    """
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    y, last = _apply(*inputs, delta_softplus, tiling or tiling_for(u), keep)
    return (y, last) if return_last_state else y
