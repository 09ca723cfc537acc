"""Static figures of compiled GPU kernels: registers, spills, memory, and instructions of the innermost loop.

NVIDIA's disassemblers are part of Triton's wheel; of AMD code the figures are in the notes of the object.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)(.*)$")
LABEL = re.compile(r"^(\.L_\S+):")
SPECIAL, MEMORY, SPILL = "MUFU", ("SHFL", "LDS", "STS", "LDG", "STG", "ATOM", "RED"), ("LDL", "STL")


@dataclass(frozen=True)
class StaticFigures:
    """What one kernel needs.

    Attributes:
        registers: registers of a thread.
        spills: instructions that move registers to memory and back.
        stack: bytes of stack of a thread.
        shared: bytes of shared memory of a program.
        instructions: instructions of the whole kernel; 0 for AMD.
        loop: instructions of the longest innermost loop, in one turn of a warp, by their first word; empty for AMD.
    """

    registers: int
    spills: int
    stack: int
    shared: int
    instructions: int
    loop: Counter[str]

    def issued(self, elements: int) -> float:
        """Issued instructions of the loop for each element of a tile, of which a thread has `elements`."""
        return self.loop.total() / elements

    def memory_cycles(self, elements: int) -> float:
        """Cycles of the load-store unit for each element: 4 for a shuffle or an access to shared or global memory."""
        return 4 * sum(count for name, count in self.loop.items() if name.startswith(MEMORY)) / elements

    def special_cycles(self, elements: int) -> float:
        """Cycles of the unit of special functions for each element: 8 for an exponential."""
        return 8 * self.loop[SPECIAL] / elements


def nvidia_figures(cubin: bytes, shared: int) -> StaticFigures:
    """The figures of a CUDA binary; `shared` is its dynamic shared memory."""
    import triton

    programs = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        resources = _output([programs / "cuobjdump", "--dump-resource-usage", file.name])
        code = _output([programs / "nvdisasm", "-c", file.name])
    usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", resources)}
    names, loops = _loops(code)
    spills = sum(name.startswith(SPILL) for name in names)
    longest = max(loops, key=len, default=[])
    stack = max(usage["STACK"], usage["LOCAL"])
    return StaticFigures(usage["REG"], spills, stack, max(shared, usage["SHARED"]), len(names), Counter(longest))


def amd_figures(assembly: str, shared: int) -> StaticFigures:
    """The figures of an AMD code object, from its assembly; `shared` is its shared memory."""

    def note(key: str) -> int:
        match = re.search(rf"\.{key}:\s+(\d+)", assembly)
        return int(match.group(1)) if match else 0

    shared = max(shared, note("group_segment_fixed_size"))
    return StaticFigures(
        note("vgpr_count"), note("vgpr_spill_count"), note("private_segment_fixed_size"), shared, 0, Counter()
    )


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _loops(code: str) -> tuple[list[str], list[list[str]]]:
    """The first word of each instruction, and those of each loop that has no other loop inside."""
    labels: dict[str, int] = {}
    pending: list[str] = []
    instructions: list[tuple[int, str, str]] = []
    for line in code.splitlines():
        if label := LABEL.match(line):
            pending.append(label.group(1))
        elif match := INSTRUCTION.match(line):
            address = int(match.group(1), 16)
            labels |= dict.fromkeys(pending, address)
            pending = []
            instructions.append((address, match.group(2).partition(".")[0], match.group(3)))
    spans = []
    for address, name, operands in instructions:
        target = re.search(r"\((\.L_\w+)\)", operands)
        if name == "BRA" and target and labels.get(target.group(1), address + 1) <= address:
            spans.append((labels[target.group(1)], address))
    inner = [a for a in spans if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    names = [name for _, name, _ in instructions]
    return names, [[name for at, name, _ in instructions if first <= at <= last] for first, last in inner]
