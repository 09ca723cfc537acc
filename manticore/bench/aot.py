"""Compiles the Triton kernels ahead of time for GPUs that this machine lacks, and reads figures from the machine code.

The launcher runs on meta tensors with a driver that names a GPU and has no device. Each launch goes through Triton's
own specialization (divisibility by 16, strides of 1, absent arguments) and is compiled, but not run. So the figures are
those of the kernels that a launch on that GPU would use.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from manticore.bench.aot_cases import ScanCase, call_scan
from manticore.bench.machine_code import StaticFigures, amd_figures, nvidia_figures
from manticore.errors import ManticoreError
from manticore.kernels.dispatch import importable


@dataclass(frozen=True)
class GpuTarget:
    """A GPU: backend and architecture as Triton names them, threads of a warp, and what one multiprocessor has."""

    backend: str
    architecture: int | str
    warp: int
    registers: int = 65536
    warps: int = 64
    shared: int = 163 * 1024


TARGETS = {
    "sm_80": GpuTarget("cuda", 80, 32),
    "sm_90": GpuTarget("cuda", 90, 32, shared=227 * 1024),
    "gfx942": GpuTarget("hip", "gfx942", 64, registers=4 * 512 * 64, warps=32, shared=64 * 1024),
}
"""GPUs by architecture: NVIDIA A100 and H200, AMD MI300."""


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel of a case.

    Attributes:
        name: name of the kernel, with `_backward` if it runs in this direction.
        warps: warps of a program.
        elements: elements of a tile (channel and step) in each thread.
        programs: programs of the launch.
        resident: warps that fit on a multiprocessor at once.
        seconds: time of the compilation.
        figures: registers, memory and instructions.
    """

    name: str
    warps: int
    elements: int
    programs: int
    resident: int
    seconds: float
    figures: StaticFigures

    @property
    def issued(self) -> float:
        """Issued instructions of the loop over states for each channel, step and state."""
        return self.figures.issued(self.elements)

    def row(self) -> dict[str, Any]:
        """The kernel as plain data. Instructions and cycles are for each element and state, `outside` of the loop for
        each element."""
        figures, elements = self.figures, self.elements
        return {
            "kernel": self.name,
            "registers": figures.registers,
            "spills": figures.spills,
            "stack": figures.stack,
            "shared": figures.shared,
            "warps": self.warps,
            "resident": self.resident,
            "programs": self.programs,
            "issued": figures.issued(elements),
            "memory_cycles": figures.memory_cycles(elements),
            "special_cycles": figures.special_cycles(elements),
            "outside": (figures.instructions - figures.loop.total()) / elements,
            "seconds": round(self.seconds, 2),
        }


class _AbsentDevice:
    """Triton's driver for a GPU that this machine lacks."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


@contextmanager
def compile_only(target: str) -> Iterator[list[CompiledKernel]]:
    """In the block, launches of Triton kernels compile for `target` and append to the list, and run nothing.

    Raises ManticoreError if Triton is not importable, or in the mode that interprets kernels.
    """
    if not importable("triton"):
        raise ManticoreError("the package 'triton' is not importable here; allowed: pip install 'triton>=3.6'")
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise ManticoreError("TRITON_INTERPRET is 1, so that nothing is compiled; allowed: unset")
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    gpu = TARGETS[target]
    kernels: list[CompiledKernel] = []
    run = JITFunction.run
    previous = dict(vars(driver))

    def compile_launch(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernel = run(self, *args, grid=grid, warmup=True, **options)
        seconds, warps = time.perf_counter() - started, kernel.metadata.num_warps
        tile = options["BLOCK_W"] * options.get("BLOCK_T", options.get("LANES", 1) * options.get("STEPS", 1))
        if gpu.backend == "cuda":
            figures = nvidia_figures(kernel.asm["cubin"], kernel.metadata.shared)
        else:
            figures = amd_figures(kernel.asm["amdgcn"], kernel.metadata.shared)
        name = self.fn.__name__ + ("_backward" if options.get("BACKWARD") else "")
        elements = max(1, tile // (gpu.warp * warps))
        resident = _resident_warps(gpu, figures, warps)
        kernels.append(CompiledKernel(name, warps, elements, math.prod(grid), resident, seconds, figures))
        return kernel

    driver.set_active(_AbsentDevice(GPUTarget(gpu.backend, gpu.architecture, gpu.warp)))
    try:
        with mock.patch.object(JITFunction, "run", compile_launch):
            _clear_compiled()
            yield kernels
    finally:
        _clear_compiled()
        vars(driver).update(previous)


def _resident_warps(gpu: GpuTarget, figures: StaticFigures, warps: int) -> int:
    """Warps that a multiprocessor holds, by registers (allocated by 8 a thread), shared memory and its own limit."""
    registers = -(-figures.registers // 8) * 8 * gpu.warp * warps
    programs = min(32, gpu.warps // warps, gpu.registers // registers)
    return warps * min(programs, gpu.shared // figures.shared if figures.shared else programs)


def _clear_compiled() -> None:
    """Forget kernels that are compiled for another target: Triton caches them by device number."""
    from triton.runtime.jit import JITFunction

    from manticore.kernels.backends.triton import scan_kernels, tiles

    for module in (scan_kernels, tiles):
        for kernel in vars(module).values():
            if isinstance(kernel, JITFunction):
                kernel.device_caches.clear()


def compile_cases(target: str, cases: Sequence[ScanCase]) -> list[list[CompiledKernel]]:
    """The kernels of each case, compiled for a target."""
    compiled = []
    with compile_only(target) as kernels:
        for case in cases:
            first = len(kernels)
            call_scan(case)
            compiled.append(kernels[first:])
    return compiled
