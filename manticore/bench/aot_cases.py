"""The calls of the selective scan that are compiled ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from manticore.kernels.backends.triton.tilings import Tiling
from manticore.kernels.ops import ScanArgs

SERIAL, TILES = Tiling(serial=True, groups=4), Tiling(serial=False, groups=4)


@dataclass(frozen=True)
class ScanCase:
    """One call of the scan; with `mixer`, z, B and C have the strides of transformers' mixer."""

    dtype: str = "bfloat16"
    states: int = 16
    batch: int = 2
    width: int = 1536
    length: int = 4096
    tiling: Tiling = Tiling()
    softplus: bool = True
    absent: tuple[str, ...] = ()
    initial: bool = False
    mixer: bool = True

    @property
    def name(self) -> str:
        """Short name, as in tables."""
        parts = [self.dtype, f"{self.batch}x{self.width}x{self.states}", f"L{self.length}", self.tiling.name]
        parts += [f"no {name}" for name in self.absent] + ["no softplus"] * (not self.softplus)
        return " ".join(parts + ["initial state"] * self.initial + ["packed"] * (not self.mixer))


def call_scan(case: ScanCase) -> None:
    """The scan of a case and all gradients, on meta tensors."""
    from manticore.kernels.backends.triton.scan import selective_scan

    dtype, batch, width, length, states = getattr(torch, case.dtype), case.batch, case.width, case.length, case.states
    sequence, projection = (batch, width, length), (batch, states, length)

    def empty(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    tensors = {name: empty(*sequence) for name in ("u", "delta", "z")}
    tensors |= {name: empty(*projection) for name in ("B", "C")}
    if case.mixer:
        rank = -(-width // 32)
        _, B, C = empty(batch, length, rank + 2 * states).split([rank, states, states], dim=-1)
        tensors |= {"z": empty(batch, length, 2 * width).mT.chunk(2, dim=1)[1], "B": B.mT, "C": C.mT}
    single: dict[str, Any] = {"dtype": torch.float32}
    tensors |= {"A": empty(width, states, **single), "D": empty(width, **single), "delta_bias": empty(width, **single)}
    if case.initial:
        tensors["initial_state"] = empty(batch, width, states, **single)
    leaves: dict[str, Any] = {
        name: x.detach().requires_grad_() for name, x in tensors.items() if name not in case.absent
    }
    args = ScanArgs(**leaves, delta_softplus=case.softplus, return_last_state=True)
    outputs = selective_scan(args, case.tiling)[: 1 + case.initial]
    torch.autograd.grad(outputs, list(leaves.values()), [torch.ones_like(x) for x in outputs], allow_unused=True)


QUICK = (ScanCase(tiling=SERIAL), ScanCase(tiling=TILES))
"""The usual call in both modes."""


def whole_set() -> tuple[ScanCase, ...]:
    """Every dtype, number of states, option, layout and kind of size."""
    optional = ("D", "z", "delta_bias")
    subsets = [absent for count in (1, 2, 3) for absent in combinations(optional, count)]
    cases = [
        ScanCase(dtype, tiling=tiling) for dtype in ("bfloat16", "float32", "float16") for tiling in (SERIAL, TILES)
    ]
    cases += [ScanCase(states=states, tiling=SERIAL) for states in (1, 3, 64, 128, 256)]
    cases += [ScanCase(absent=absent, softplus=len(absent) != 2, tiling=TILES) for absent in subsets]
    cases += [ScanCase(dtype, initial=True, tiling=TILES, mixer=False) for dtype in ("bfloat16", "float32")]
    cases += [ScanCase(width=1537, length=2001, tiling=TILES), ScanCase(width=5, length=19, states=3, tiling=SERIAL)]
    cases += [ScanCase(width=1, length=1, tiling=Tiling(channels=1, lane_steps=4))]
    cases += [ScanCase(batch=32, width=4096, length=32768, tiling=tiling) for tiling in (SERIAL, TILES)]  # over 2^31
    return tuple(cases)
