"""Which tiles a scan is cut into, by a table of tilings and where each is used.

The static counts that the table rests on are in `benchmarks/results/kernels-aot.json`, made by
`manticore bench kernels --aot`; `benchmarks/gpu/run.py` times all rows on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """The tiles of a scan, each the work of one warp.

    Attributes:
        channels: channels of a tile, a power of two.
        lanes: threads of a warp, a power of two.
        lane_steps: consecutive steps of a lane, a multiple of 4. For each tile (batch, width, state) in fp32 is
            saved for the backward pass: with 256 steps and 128 states, as many bytes as `u` has in bf16.
        serial: one program processes all tiles of its channels in the forward pass. Otherwise each tile has its own
            program, after a pass of half the cost that computes the states between them.
        groups: groups of channels. A program of the backward pass processes the channels of one group one after
            another, and for each group (batch, state, length) in fp32 is allocated for B and for C.
    """

    channels: int = 2
    lanes: int = 32
    lane_steps: int = 8
    serial: bool = True
    groups: int = 1

    @property
    def steps(self) -> int:
        """Steps of a tile."""
        return self.lanes * self.lane_steps

    @property
    def name(self) -> str:
        """Short name, as in tables."""
        return f"{self.channels}x{self.lanes}x{self.lane_steps} {'serial' if self.serial else 'tiles'}"


@dataclass(frozen=True)
class TilingRule:
    """One row of the table: the tiling of scans with at least so many steps and programs.

    Attributes:
        length: least number of steps.
        programs: least number of serial programs for each multiprocessor.
        tiling: channels, steps of a lane and mode.
    """

    length: int
    programs: float
    tiling: Tiling


TILINGS = (
    TilingRule(length=0, programs=4, tiling=Tiling(channels=2, lane_steps=8, serial=True)),
    TilingRule(length=512, programs=0, tiling=Tiling(channels=2, lane_steps=8, serial=False)),
    TilingRule(length=0, programs=0, tiling=Tiling(channels=2, lane_steps=8, serial=True)),
)
"""The first row that fits is used. A multiprocessor holds 8 warps of the backward kernel and 12 to 16 of the forward
kernel. A serial forward pass issues 10.9 instructions for each channel, step and state, one in tiles 18, so that serial
programs may leave a third of the places empty; tiles need at least two, 512 steps, to differ."""

PARTIAL_BYTES = 1.5
"""Saved states and partial sums of the gradients of B and C, as a multiple of the bytes of `u`, up to `FREE_BYTES`."""

FREE_BYTES = 64 * 2**20
"""Bytes of partial sums that are always allowed, so that short scans have enough programs."""

BACKWARD_PROGRAMS = 16
"""Programs of the backward pass for each multiprocessor: two for each place, so that the last ones wait little."""


def tiling_for(u: Tensor, states: int) -> Tiling:
    """The tiles of an input (batch, width, length) with so many states, for the device of `u`.

    On ROCm a warp has 64 lanes, and only scans of one tile are serial: a serial program passes states through global
    memory, and Triton's barrier on ROCm waits for shared memory alone.
    """
    cores = torch.cuda.get_device_properties(u.device).multi_processor_count if u.is_cuda else 1
    return choose_tiling(tuple(u.shape), states, u.element_size(), cores, torch.version.hip is not None)


def choose_tiling(shape: tuple[int, ...], states: int, itemsize: int, cores: int, rocm: bool = False) -> Tiling:
    """The tiles of an input of `shape` (batch, width, length) on a device with `cores` multiprocessors."""
    batch, width, length = shape
    lanes = 64 if rocm else 32
    for rule in TILINGS:
        blocks = -(-width // rule.tiling.channels)
        if length >= rule.length and batch * blocks >= rule.programs * cores:
            break
    channels = min(rule.tiling.channels, 1 << (width - 1).bit_length())
    lane_steps = max(4, min(rule.tiling.lane_steps, 1 << (-(-length // lanes) - 1).bit_length()))
    steps = lanes * lane_steps
    tiles, blocks = -(-length // steps), -(-width // channels)
    serial = tiles == 1 or (rule.tiling.serial and not rocm)
    return Tiling(channels, lanes, lane_steps, serial, _groups(shape, states, itemsize, cores, steps, blocks))


def _groups(shape: tuple[int, ...], states: int, itemsize: int, cores: int, steps: int, blocks: int) -> int:
    """Enough groups of channels to fill the device, within the limits of memory."""
    batch, width, length = shape
    needed = -(-BACKWARD_PROGRAMS * cores // (batch * -(-length // steps)))
    one_group = 2 * 4 * batch * states * length
    saved = 4 * batch * width * states * -(-length // steps)
    allowed = max(FREE_BYTES, PARTIAL_BYTES * batch * width * length * itemsize - saved)
    groups = max(1, min(needed, blocks, int(allowed) // one_group))
    return -(-blocks // -(-blocks // groups))
