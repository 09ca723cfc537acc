"""The selective scan in Triton as one autograd node, which allocates memory, chooses tiles and launches the kernels.

Arithmetic is in single precision. The forward pass saves one state for each tile, and the backward pass recomputes the
others. Sums over channels, steps and batch add partial sums in a fixed order, so that runs repeat to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from manticore.kernels.backends.triton import scan_kernels as kernels
from manticore.kernels.ops import ScanArgs


@dataclass(frozen=True)
class Tiling:
    """The tiles of a scan.

    Attributes:
        channels: channels of a tile, a power of two. For each block of channels the backward pass allocates
            (batch, state, length) in fp32 for B and for C: with 32 channels and 16 states, as much as `u` in fp32.
        steps: steps of a tile, a power of two. For each tile (batch, width, state) in fp32 is saved for the backward
            pass: with 32 steps and 16 states, half of `u` in fp32. Longer tiles need more levels of the scan.
        serial: one program processes all tiles of its channels, and computes each exponential once. Otherwise each tile
            has its own program, after a pass of half the cost that computes the states between them.
    """

    channels: int = 32
    steps: int = 32
    serial: bool = True


SERIAL_FROM = 3
"""Serial programs for each multiprocessor from which on the separate pass for the states no longer pays."""


def tiling_for(u: Tensor) -> Tiling:
    """The tiles of an input (batch, width, length): serial if batch and width fill the device, or for one tile.

    On ROCm serial only for one tile: a serial program passes states between threads through global memory, and
    Triton's barrier on ROCm waits for shared memory alone.
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
    """A tensor (batch, row, step) as the kernels take it: pointer and strides."""

    start: Tensor
    batch: int
    row: int
    step: int


def _sequence(x: Tensor | None) -> Sequence | None:
    return None if x is None else Sequence(x, *x.stride())


def _with_packed_steps(x: Tensor | None) -> Any:
    """`x` with adjacent steps in memory: a copy costs less than a scan over strided loads."""
    return x if x is None or x.stride(2) in (0, 1) else x.contiguous()


def _packed(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _rates(A: Tensor) -> Tensor:
    """A / ln 2 as (state, width). -inf becomes a finite number whose powers are 0 too, so that 0 times it is 0."""
    return (A.float().mT.contiguous() / log(2)).clamp(min=-1e30)


class _Launcher:
    """The shape of one scan with its tiles, and the launches of kernels on it."""

    def __init__(self, u: Tensor, A: Tensor, tiling: Tiling, softplus: bool) -> None:
        (self.batch, self.width, self.length), self.states = u.shape, A.shape[1]
        self.tiling, self.rate = tiling, _rates(A)
        self.blocks, self.tiles = _blocks(self.width, tiling.channels), _blocks(self.length, tiling.steps)
        self.shape = {"N": self.states, "SOFTPLUS": softplus}
        self.block = {"BLOCK_W": tiling.channels, "BLOCK_T": tiling.steps}

    def empty(self, *shape: int) -> Tensor:
        return self.rate.new_empty(shape)

    def empty_slots(self, save_states: bool) -> Tensor:
        """Memory for the state before each tile and after the last, or for two states that are used in turn."""
        count = self.tiles + 1 if save_states or not self.tiling.serial else 2
        return self.empty(self.batch, count, self.states, self.width)

    def warps(self, elements: int) -> int:
        """Number of warps with which each thread has `elements` elements of a tile."""
        return max(1, self.tiling.channels * self.tiling.steps // (32 * elements))

    def launch(self, kernel: Any, *args: Any, elements: int) -> None:
        """Launch `kernel` on all tiles, with `elements` elements of a tile for each thread."""
        grid = (self.batch * self.blocks * (1 if self.tiling.serial else self.tiles),)
        flags = {**self.shape, **self.block, "SERIAL": self.tiling.serial}
        kernel[grid](*args, **flags, num_warps=self.warps(elements))

    def fill_slots(
        self, slots: Tensor, delta: Tensor, bias: Tensor | None, value: Tensor, z: Any, B: Tensor, back: bool
    ) -> None:
        """Compute the state (`back`: gradient) in every slot from the first (last), unless the kernel is serial."""
        if self.tiling.serial:
            return
        total = self.empty(self.batch, self.tiles, self.width)
        sequences = [_sequence(x) for x in (delta, value, z, B)]
        sizes = (self.width, self.length, self.tiles)
        grid = (self.batch * self.blocks * self.tiles,)
        args = (*sequences, bias, self.rate, total, slots, *sizes)
        kernels.tile_contributions[grid](*args, **self.shape, **self.block, BACKWARD=back, num_warps=self.warps(16))
        grid = (self.batch * self.blocks * self.states,)
        block = {"BLOCK_W": self.tiling.channels, "BLOCK_T": min(32, _power_of_two(self.tiles))}
        kernels.link_tiles[grid](self.rate, total, slots, self.width, self.tiles, N=self.states, BACKWARD=back, **block)


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
        save_states: bool,
    ) -> tuple[Tensor, Tensor]:
        inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
        launcher, y = _Launcher(u, A, tiling, delta_softplus), torch.empty_like(u)
        u, delta, z = map(_with_packed_steps, (u, delta, z))
        D_W, bias_W = _packed(D), _packed(delta_bias)
        states = launcher.empty_slots(save_states)
        states[:, 0] = 0.0 if initial_state is None else initial_state.mT
        with torch.cuda.device_of(u):
            launcher.fill_slots(states, delta, bias_W, u, None, B, back=False)
            sequences = (_sequence(u), _sequence(delta), launcher.rate, _sequence(B), _sequence(C))
            sizes = (launcher.width, launcher.length, launcher.tiles, states.shape[1])
            args = (*sequences, D_W, _sequence(z), bias_W, _sequence(y), states, *sizes)
            launcher.launch(kernels.forward, *args, elements=16)
        ctx.save_for_backward(*inputs, states if save_states else None)
        ctx.delta_softplus, ctx.tiling = delta_softplus, tiling
        ctx.set_materialize_grads(False)
        return y, states[:, launcher.tiles % states.shape[1]].mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        *inputs, states = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias, _ = inputs
        launcher = _Launcher(u, A, ctx.tiling, ctx.delta_softplus)
        D_W, bias_W = _packed(D), _packed(delta_bias)
        grads = launcher.empty_slots(save_states=False)
        grads[:, launcher.tiles % grads.shape[1]] = 0.0 if dlast is None else dlast.mT

        du, ddelta, dz = torch.empty_like(u), torch.empty_like(delta), None if z is None else torch.empty_like(z)
        dy = u.new_zeros(()).expand(u.shape) if dy is None else dy
        u, delta, z, dy = map(_with_packed_steps, (u, delta, z, dy))
        by_tile = (launcher.batch, launcher.tiles)
        by_block = (launcher.blocks, launcher.batch, launcher.states, launcher.length)
        dA = launcher.empty(*by_tile, launcher.states, launcher.width)
        dB, dC = launcher.empty(*by_block), launcher.empty(*by_block)
        dD, dbias = (None if x is None else launcher.empty(*by_tile, launcher.width) for x in (D, delta_bias))
        with torch.cuda.device_of(u):
            launcher.fill_slots(grads, delta, bias_W, dy, z, C, back=True)
            sequences = (_sequence(u), _sequence(delta), launcher.rate, _sequence(B), _sequence(C))
            outputs = (_sequence(du), _sequence(ddelta), _sequence(dz), dA, dB, dC, dD, dbias)
            sizes = (launcher.batch, launcher.width, launcher.length, launcher.tiles, grads.shape[1])
            args = (*sequences, D_W, _sequence(z), bias_W, _sequence(dy), states, grads, *outputs, *sizes)
            launcher.launch(kernels.backward, *args, elements=8)

        dA_WN, dD_W, dbias_W = (None if x is None else x.sum((0, 1)) for x in (dA.mT, dD, dbias))
        gradients = (du, ddelta, dA_WN, dB.sum(0), dC.sum(0), dD_W, dz, dbias_W, grads[:, 0].mT)
        pairs = zip(inputs, gradients, strict=True)
        return *(None if x is None or g is None else g.to(x.dtype) for x, g in pairs), None, None, None


_apply: Any = _SelectiveScan.apply


def selective_scan(args: ScanArgs, tiling: Tiling | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.selective_scan`; for CUDA tensors in fp32, bf16 or fp16, and differentiable once.

    `tiling` is by default chosen for the device.
    """
    tensors = (args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state)
    save_states = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last = _apply(*tensors, args.delta_softplus, tiling or tiling_for(args.u), save_states)
    return (y, last) if args.return_last_state else y
