"""Runs `manticore bench`: times the cases of kernels or a search step, prints tables, returns plain data.

`python -m manticore.bench.run CASE SIDE full|quick THREADS` prints the peak memory of one implementation ("side") in
bytes; each is measured in such a process of its own.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
from rich.console import Console

from manticore.bench import tables
from manticore.bench.kernels import CASES, Case, Size, SpeedTarget
from manticore.bench.timing import memory_growth, race, ratio
from manticore.kernels.dispatch import BACKENDS, OPERATIONS, explain_choice, importable
from manticore.utils.console import info


@dataclass(frozen=True)
class SideTiming:
    """The measurements of one implementation of a case.

    The comparison is None for this package; all measurements are None for an implementation that is not installed.

    Attributes:
        case, side: name of the case, name of the implementation.
        size: size of the case.
        missing: the command that installs the implementation, if it is not installed.
        seconds, repeats: median time and number of runs.
        peak_bytes: peak memory; None where the system does not report it.
        speedup: time of this implementation divided by that of this package.
        memory_share: peak memory of this package divided by that of this implementation.
        target: the expected values.
        target_met: whether they are reached; None without a target.
    """

    case: str
    side: str
    size: Size
    missing: str | None = None
    seconds: float | None = None
    repeats: int | None = None
    peak_bytes: int | None = None
    speedup: float | None = None
    memory_share: float | None = None
    target: SpeedTarget | None = None
    target_met: bool | None = None


def bench_kernels(
    cases: Sequence[Case], repeats: int, budget: float, quick: bool, console: Console, scaling: bool
) -> dict[str, Any]:
    """Print which backend runs what on the CPU and, if there is one, on a GPU; time the cases, and print their tables.

    Args:
        cases: the cases.
        repeats: timed runs of each implementation.
        budget: seconds after which an implementation is not run again.
        quick: whether to use tiny sizes.
        console: where tables are printed.
        scaling: whether to time the growth of the scan, its distance from a bound and the first call, too.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)
    backends = backend_choices("cpu")
    on_gpu = backend_choices("cuda") if torch.cuda.is_available() else []
    for choices in filter(None, (backends, on_gpu)):
        console.print(tables.backend_table(choices))
    rows: list[SideTiming] = []
    for case in cases:
        info(console, f"{case.name}: {case.about}")
        rows += run_case(case, repeats, budget, quick)
    console.print(tables.case_table(rows))
    out: dict[str, Any] = {"backends": backends, "backends_on_gpu": on_gpu, "rows": [asdict(row) for row in rows]}
    return out | (_bench_scaling(repeats, quick, console) if scaling else {})


def _bench_scaling(repeats: int, quick: bool, console: Console) -> dict[str, Any]:
    from manticore.bench.scaling import distance_from_bound, first_call_seconds, scan_growth  # compiles when imported

    lengths = scan_growth(repeats, quick)
    console.print(tables.growth_table(lengths))
    bound = distance_from_bound(repeats, quick)
    console.print(
        f"scan, forward and backward: {bound.ratio:.2f} times its exponentials alone "
        f"({tables.format_seconds(bound.exponentials_seconds)}), a lower bound"
    )
    first_call = first_call_seconds()
    console.print(f"first call, compiling everything: {tables.format_seconds(first_call)}, once")
    return {
        "growth": [asdict(timing) for timing in lengths],
        "bound": {**asdict(bound), "ratio": bound.ratio},
        "first_call_seconds": first_call,
    }


def bench_search(
    width: int, layers: int, batch: int, length: int, repeats: int, device: str, console: Console
) -> dict[str, Any]:
    """Time the steps of a search and print their tables; arguments as of `time_search_step`."""
    from manticore.bench.search_step import time_search_step  # a process that measures memory does without it

    cost = time_search_step(width, layers, batch, length, repeats, device)
    console.print(tables.step_table([row for row in cost.rows if row.kind != "strategy"]))
    console.print(tables.strategy_step_table([row for row in cost.rows if row.kind == "strategy"]))
    console.print(tables.step_target_table(cost.targets))
    size = {"width": width, "layers": layers, "batch": batch, "length": length, "device": device}
    targets = [{**asdict(target), "met": target.met} for target in cost.targets]
    return {"size": size, "rows": [asdict(row) for row in cost.rows], "targets": targets}


def bench_aot(quick: bool, console: Console) -> dict[str, Any]:
    """Compile the Triton kernels for all targets, the whole set of calls for sm_90 alone unless `quick`; print tables.

    A kernel that several calls share is listed with the first of them.
    """
    import triton

    from manticore.bench.aot import TARGETS, compile_cases
    from manticore.bench.aot_cases import QUICK, whole_set

    rows: list[dict[str, Any]] = []
    for target in TARGETS:
        cases = whole_set() if target == "sm_90" and not quick else QUICK
        for case, kernels in zip(cases, compile_cases(target, cases), strict=True):
            rows += [{"target": target, "case": case.name, **kernel.row()} for kernel in kernels]
    console.print(tables.aot_table(rows))
    return {"triton": triton.__version__, "rows": rows}


def backend_choices(device: str) -> list[dict[str, str]]:
    """The backends of each operation, with the reason why each is selected for fp32 tensors on `device`, or not."""
    tensors = {"x": torch.zeros(1, device=device)}
    return [
        {"operation": operation, "backend": backend, "reason": reason}
        for operation in OPERATIONS
        for backend, reason in explain_choice(operation, tensors)
        if operation in BACKENDS[backend].operations
    ]


def run_case(case: Case, repeats: int, budget: float, quick: bool) -> list[SideTiming]:
    """Time all implementations of a case in turns, and measure the peak memory of each in its own process."""
    missing = {side: package for side, package in case.needs.items() if not importable(package)}
    size = case.size(quick)
    timings = race({side: setup(size) for side, setup in case.sides.items() if side not in missing}, repeats, budget)
    peaks = {side: peak_in_subprocess(case.name, side, quick) for side in timings}
    reference = next(iter(case.sides))
    rows = []
    for side in case.sides:
        if side in missing:
            rows.append(SideTiming(case.name, side, dict(size), missing=f"pip install {missing[side]}"))
            continue
        comparison: dict[str, Any] = {}
        if side != reference:
            comparison = comparison_fields(
                ratio(timings[side], timings[reference]), peaks[reference], peaks[side], case.targets.get(side)
            )
        seconds, runs = timings[side].seconds, timings[side].repeats
        rows.append(SideTiming(case.name, side, dict(size), None, seconds, runs, peaks[side], **comparison))
    return rows


def comparison_fields(
    speedup: float, own_peak: int | None, peak: int | None, target: SpeedTarget | None
) -> dict[str, Any]:
    """The fields of `SideTiming` that compare this package with another implementation."""
    share = own_peak / peak if own_peak and peak else None
    target = target or SpeedTarget()
    checks = [speedup >= target.speedup] if target.speedup else []
    checks += [share <= target.memory] if target.memory and share is not None else []
    return {
        "speedup": speedup,
        "memory_share": share,
        "target": target,
        "target_met": all(checks) if checks else None,
    }


def peak_in_subprocess(case: str, side: str, quick: bool) -> int | None:
    """Peak memory of an implementation in bytes, measured in a fresh process; None if that process fails."""
    args = (case, side, "quick" if quick else "full", str(torch.get_num_threads()))
    command = [sys.executable, "-m", "manticore.bench.run", *args]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    last = process.stdout.split()[-1:] if process.returncode == 0 else []
    return int(last[0]) if last and last[0].isdigit() else None


def main(name: str, side: str, size: str, threads: str) -> None:
    """Print the peak memory of one implementation, without code that is loaded and compiled once."""
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(int(threads))
    case = next(case for case in CASES if case.name == name)
    case.sides[side](case.quick)()
    print(memory_growth(case.sides[side](case.size(size == "quick"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
