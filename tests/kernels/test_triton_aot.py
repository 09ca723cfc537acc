"""The Triton kernels compile for GPUs that are not here, without spills and within bounds of registers and memory."""

from __future__ import annotations

from importlib.metadata import version
from io import StringIO

import pytest
from packaging.version import Version
from rich.console import Console

pytest.importorskip("triton")

from manticore.bench.aot import TARGETS, CompiledKernel, compile_cases
from manticore.bench.aot_cases import QUICK
from manticore.bench.run import bench_aot
from manticore.kernels.backends.triton.tilings import Tiling, choose_tiling

pytestmark = pytest.mark.slow

OLD = Version(version("triton")) < Version("3.9")

MAX_INSTRUCTIONS = 64.0 if OLD else 50.0
"""Issued for each channel, step and state, forward and backward; mamba-ssm's CUDA kernels issue 84.5."""

MAX_SPILLS = 64 if OLD else 0
"""Bytes of scan_backward: Triton 3.6 spills 24 (sm_90) or 60 (sm_80)."""


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_without_spills(target: str) -> None:
    serial, tiles = compile_cases(target, QUICK)
    names = ["scan_forward", "scan_contributions_backward", "scan_link_backward", "scan_backward"]
    assert [kernel.name for kernel in serial] == names
    assert [kernel.name for kernel in tiles] == ["scan_contributions", "scan_link", *names]
    for kernel in (*serial, *tiles):
        assert kernel.figures.spills <= (MAX_SPILLS if kernel.name == "scan_backward" else 0), kernel
        assert kernel.figures.spills or not kernel.figures.stack, kernel
        assert kernel.figures.registers <= 256, kernel
        assert kernel.figures.shared <= 4096, kernel
    if target.startswith("sm_"):
        assert _instructions(serial) < MAX_INSTRUCTIONS
        assert _instructions(tiles) < MAX_INSTRUCTIONS + 10


def test_the_command_lists_all_targets() -> None:
    table = StringIO()
    rows = bench_aot(quick=True, console=Console(file=table, width=250))["rows"]
    assert [sum(row["target"] == target for row in rows) for target in TARGETS] == [10, 10, 10]
    assert all(row["issued"] > 5 for row in rows if row["target"].startswith("sm_"))
    assert table.getvalue().count("scan_backward") == 6


def _instructions(kernels: list[CompiledKernel]) -> float:
    """Instructions of all kernels; the linking kernel has one element for each tile of 256 steps."""
    return sum(kernel.issued / (256 if kernel.name.startswith("scan_link") else 1) for kernel in kernels)


@pytest.mark.parametrize("states", [16, 128, 256])
def test_saved_states_and_partial_sums_are_bounded(states: int) -> None:
    batch, width, length = shape = (2, 1536, 65536)
    tiling = choose_tiling(shape, states, itemsize=2, cores=132)
    saved = batch * width * states * (length // tiling.steps + 1) * 4
    partial = 2 * tiling.groups * batch * states * length * 4
    bound = 1.5 if states <= 128 else 2.7  # beyond 128 states, one group is the least there can be
    assert (saved + partial) / (batch * width * length * 2) <= bound


def test_tilings_by_size() -> None:
    assert choose_tiling((8, 1536, 2000), 16, 2, 132) == Tiling(2, 32, 8, True, 32)
    assert not choose_tiling((1, 256, 65536), 16, 2, 132).serial  # 128 serial programs for 132 multiprocessors
    assert choose_tiling((1, 256, 200), 16, 2, 132).serial  # a single tile
    assert not choose_tiling((64, 2048, 4096), 16, 2, 304, rocm=True).serial
    assert choose_tiling((1, 3, 5), 16, 4, 1) == Tiling(2, 32, 4, True, 2)
    assert choose_tiling((1, 1, 5), 16, 4, 1).channels == 1
