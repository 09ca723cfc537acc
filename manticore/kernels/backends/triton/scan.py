"""The selective scan in Triton as one autograd node, which allocates memory and launches the kernels.

Arithmetic is in single precision. The forward pass saves one state for each tile, and the backward pass recomputes the
others. Sums over channels, steps and batch add partial sums in a fixed order, so that runs repeat to the bit.
"""

from __future__ import annotations

from math import ceil, log
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manticore.kernels.backends.triton import scan_kernels as kernels
from manticore.kernels.backends.triton.tilings import Tiling, tiling_for
from manticore.kernels.ops import ScanArgs


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


class Sequence(NamedTuple):
    """A tensor (batch, row, step) with adjacent steps as the kernels take it: pointer and strides."""

    start: Tensor
    batch: int
    row: int


PADDING = 16
"""Rows are padded to a multiple of this number of steps, so Triton may read four steps at once."""


def _padded_length(length: int) -> int:
    return -(-length // PADDING) * PADDING


def _row_strides(x: Tensor) -> tuple[int, ...]:
    """Strides of batch and row; 0 for an axis of one element."""
    return tuple(0 if x.shape[axis] == 1 else x.stride(axis) for axis in (0, 1))


def _with_aligned_rows(x: Any) -> Any:
    """`x` with adjacent steps and aligned rows, padded with zeros; a copy costs less than a scan over strided loads."""
    if x is None:
        return None
    missing = _padded_length(x.shape[2]) - x.shape[2]
    aligned = x.stride(2) == 1 and not missing and x.data_ptr() % PADDING == 0
    if aligned and all(stride % PADDING == 0 for stride in _row_strides(x)):
        return x
    return F.pad(x, (0, missing)).contiguous() if missing else x.clone(memory_format=torch.contiguous_format)


def _sequence(x: Tensor | None) -> Sequence | None:
    return None if x is None else Sequence(x, *_row_strides(x))


def _packed(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


class _Launcher:
    """The shape of one scan with its tiles, and the launches of kernels on it."""

    def __init__(self, u: Tensor, A: Tensor, tiling: Tiling, softplus: bool) -> None:
        (self.batch, self.width, self.length), self.states = u.shape, A.shape[1]
        self.padded = _padded_length(self.length)
        self.tiling, self.device = tiling, u.device
        # A / ln 2 as (state, width). -inf becomes a finite number whose powers are 0 too, so that 0 times it is 0.
        self.rate = (A.detach().float().mT.contiguous() / log(2)).clamp_(min=-1e30)
        self.tiles = -(-self.length // tiling.steps)
        self.flags = {"N": self.states, "SOFTPLUS": softplus, "LANES": tiling.lanes, "STEPS": tiling.lane_steps}

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self.device)

    def pack_steps(self, x_BNL: Tensor) -> Tensor:
        """(batch, state, length) -> (batch, state, tile, lane_steps / 4, lanes, 4) in fp32, 0 beyond the length."""
        tiling, missing = self.tiling, self.tiles * self.tiling.steps - self.length
        x_BNL = F.pad(x_BNL, (0, missing)) if missing else x_BNL
        x_BNTQS4 = x_BNL.unflatten(2, (self.tiles, tiling.lanes, tiling.lane_steps // 4, 4)).transpose(3, 4)
        return self.empty(*x_BNTQS4.shape).copy_(x_BNTQS4)

    def unpack_steps(self, x_GBNTQS4: Tensor) -> Tensor:
        """The sum over groups, in the layout (batch, state, length)."""
        return x_GBNTQS4.sum(0).transpose(3, 4).flatten(2)[..., : self.length]

    def empty_sequence(self, dtype: torch.dtype) -> Tensor:
        return torch.empty(self.batch, self.width, self.padded, dtype=dtype, device=self.device)

    def launch(self, kernel: Any, programs: int, *args: Any, channels: int, **flags: Any) -> None:
        """Launch `kernel` with one warp a program; `programs` for each batch index."""
        options = {"num_warps": 1, "enable_fp_fusion": True}
        kernel[(self.batch * programs,)](*args, **self.flags, BLOCK_W=channels, **flags, **options)

    def fill_slots(
        self, slots: Tensor, delta: Tensor, bias: Tensor | None, value: Tensor, z: Any, projection: Tensor, back: bool
    ) -> None:
        """Compute the state (`back`: gradient) in every slot from the first (last)."""
        total, channels = self.empty(self.batch, self.tiles, self.width), self.tiling.channels
        sequences, sizes = (_sequence(x) for x in (delta, value, z)), (self.width, self.length, self.padded, self.tiles)
        args = (*sequences, projection, bias, self.rate, total, slots, *sizes)
        programs = -(-self.width // channels) * self.tiles
        self.launch(kernels.scan_contributions, programs, *args, channels=channels, BACKWARD=back)
        block = min(32, _power_of_two(self.width))
        flags = {"N": self.states, "BACKWARD": back, "BLOCK_W": block, "BLOCK_T": min(32, _power_of_two(self.tiles))}
        grid = (self.batch * -(-self.width // block) * self.states,)
        args = (self.rate, total, slots, self.width, self.tiles)
        kernels.scan_link[grid](*args, **flags, num_warps=4, enable_fp_fusion=True)


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
        launcher = _Launcher(u, A, tiling, delta_softplus)
        y = launcher.empty_sequence(u.dtype)
        u, delta, z = map(_with_aligned_rows, (u, delta, z))
        D_W, bias_W = _packed(D), _packed(delta_bias)
        serial = tiling.serial or launcher.tiles == 1
        slots = launcher.tiles + 1 if save_states or not serial else 2
        states = launcher.empty(launcher.batch, slots, launcher.states, launcher.width)
        states[:, 0] = 0.0 if initial_state is None else initial_state.mT
        packed_B, packed_C = launcher.pack_steps(B), launcher.pack_steps(C)
        with torch.cuda.device_of(u):
            if not serial:
                launcher.fill_slots(states, delta, bias_W, u, None, packed_B, back=False)
            sequences = (_sequence(u), _sequence(delta), launcher.rate, packed_B, packed_C)
            sizes = (launcher.width, launcher.length, launcher.padded, launcher.tiles, slots)
            args = (*sequences, D_W, _sequence(z), bias_W, y, states, *sizes)
            programs = -(-launcher.width // tiling.channels) * (1 if serial else launcher.tiles)
            launcher.launch(kernels.scan_forward, programs, *args, channels=tiling.channels, SERIAL=serial)
        ctx.save_for_backward(*inputs, states if save_states else None)
        ctx.delta_softplus, ctx.tiling = delta_softplus, tiling
        ctx.set_materialize_grads(False)
        return y[..., : launcher.length], states[:, launcher.tiles % slots].mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        *inputs, states = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias, _ = inputs
        launcher, tiling = _Launcher(u, A, ctx.tiling, ctx.delta_softplus), ctx.tiling
        D_W, bias_W = _packed(D), _packed(delta_bias)
        packed_B, packed_C = launcher.pack_steps(B), launcher.pack_steps(C)
        tiles, groups = launcher.tiles, tiling.groups
        grads = launcher.empty(launcher.batch, tiles + 1, launcher.states, launcher.width)
        grads[:, tiles] = 0.0 if dlast is None else dlast.mT

        du, ddelta, dz = (None if x is None else launcher.empty_sequence(x.dtype) for x in (u, delta, z))
        dy = torch.zeros_like(u) if dy is None else dy
        u, delta, z, dy = map(_with_aligned_rows, (u, delta, z, dy))
        dB, dC = (launcher.empty(groups, *packed_B.shape) for _ in range(2))
        dD, dbias = (
            None if x is None else launcher.empty(launcher.batch, tiles, launcher.width) for x in (D_W, bias_W)
        )
        with torch.cuda.device_of(u):
            if tiles > 1 or ctx.needs_input_grad[8]:
                launcher.fill_slots(grads, delta, bias_W, dy, z, packed_C, back=True)
            sequences = (_sequence(u), _sequence(delta), launcher.rate, packed_B, packed_C)
            outputs = (du, ddelta, dz, dB, dC, dD, dbias)
            blocks = ceil(ceil(launcher.width / tiling.channels) / groups)
            sizes = (launcher.batch, launcher.width, launcher.length, launcher.padded, tiles, blocks, groups)
            args = (*sequences, D_W, _sequence(z), bias_W, _sequence(dy), states, grads, *outputs, *sizes)
            launcher.launch(kernels.scan_backward, groups * tiles, *args, channels=tiling.channels)

        dD_W, dbias_W = (None if x is None else x.sum((0, 1)) for x in (dD, dbias))
        du, ddelta, dz = (None if x is None else x[..., : launcher.length] for x in (du, ddelta, dz))
        dB, dC = launcher.unpack_steps(dB), launcher.unpack_steps(dC)
        gradients = (du, ddelta, grads[:, 1:].sum((0, 1)).mT, dB, dC, dD_W, dz, dbias_W, grads[:, 0].mT)
        pairs = zip(inputs, gradients, strict=True)
        return *(None if x is None or g is None else g.to(x.dtype) for x, g in pairs), None, None, None


_apply: Any = _SelectiveScan.apply


def selective_scan(args: ScanArgs, tiling: Tiling | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """See `ops.selective_scan`; for CUDA tensors in fp32, bf16 or fp16, and differentiable once.

    `tiling` is by default chosen for the device.
    """
    tensors = (args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state)
    save_states = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    tiling = tiling or tiling_for(args.u, args.A.shape[1])
    y, last = _apply(*tensors, args.delta_softplus, tiling, save_states)
    return (y, last) if args.return_last_state else y
