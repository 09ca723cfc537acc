"""Compares the Triton scan with mamba_ssm's CUDA scan on one GPU: results first, then times, in turns in one run."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ABOUT = """\
Times manticore's Triton selective scan and mamba_ssm's selective_scan_fn on the current CUDA device.

Each row is one length, dtype and size. The results of both must agree. Then both are warmed up and timed in turns, call
by call, with CUDA events, so that both run at the same clock rates. Times are medians.

  manticore, mamba_ssm   milliseconds
  ratio     time of mamba_ssm / time of manticore
  GB/s      bytes that must be moved (each input read, each output written, once) / time of manticore
  of copy   GB/s / GB/s of a large device-to-device copy; near 1, memory bandwidth is the limit
  MiB       peak memory beyond the inputs
"""
EPILOG = """\
examples:
  python benchmarks/gpu/scan.py                                   all lengths and sizes, a few minutes
  python benchmarks/gpu/scan.py --lengths 4096 --sizes 8x2048x16  one size
  python benchmarks/gpu/scan.py --out scan-h100.json              another output file
"""
INSTALL = (
    "mamba_ssm is not installed, manticore is timed alone: pip install --no-build-isolation mamba-ssm causal-conv1d"
)
AGREEMENT = {torch.float32: 1e-4, torch.bfloat16: 3e-2}

Scan = Callable[..., Tensor]


def parse() -> argparse.Namespace:
    """The command line."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=ABOUT, epilog=EPILOG, formatter_class=shape)
    lengths = [1024 * 2**i for i in range(7)]
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths, help="steps (1024 to 65536)")
    sizes = ["2x1024x16", "8x2048x16"]
    parser.add_argument("--sizes", nargs="+", default=sizes, help="batch x width x state (%(default)s)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each side (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("scan.json"), help="file for the measurements (%(default)s)")
    return parser.parse_args()


def arguments(size: str, length: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random arguments of a Mamba block; A, D and the bias are in fp32."""
    batch, width, state = map(int, size.split("x"))
    torch.manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, device="cuda", dtype=dtype)

    sequences = {name: normal(batch, width, length) for name in ("u", "delta", "z")}
    projections = {name: normal(batch, state, length) for name in ("B", "C")}
    A = -torch.arange(1.0, state + 1, device="cuda").repeat(width, 1)
    channels = {name: normal(width, dtype=torch.float32) for name in ("D", "delta_bias")}
    drawn = {**sequences, **projections, "A": A, **channels}
    return {name: x.requires_grad_() for name, x in drawn.items()}


def tasks(scan: Scan, x: dict[str, Tensor]) -> dict[str, Callable[[], Any]]:
    """The timed functions: the forward pass, and forward and backward pass with all gradients."""
    cotangent = torch.randn_like(x["u"])

    def forward() -> Tensor:
        with torch.no_grad():
            return scan(**x, delta_softplus=True)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(scan(**x, delta_softplus=True), list(x.values()), cotangent)

    return {"forward": forward, "forward+backward": forward_backward}


def time_in_turns(thunks: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function, called in turns `repeats` times."""
    events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in thunks}
    for turn in range(repeats + 3):
        for name, thunk in thunks.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            thunk()
            end.record()
            if turn >= 3:
                events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: statistics.median(s.elapsed_time(e) for s, e in pairs) / 1e3 for name, pairs in events.items()}


def memory(thunk: Callable[[], Any]) -> float:
    """Peak MiB of one call beyond the memory in use before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    thunk()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def copy_ceiling() -> float:
    """Bytes per second of a device-to-device copy, reads and writes."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    seconds = time_in_turns({"copy": lambda: target.copy_(source)}, 10)["copy"]
    return 2 * source.numel() * source.element_size() / seconds


def traffic(x: dict[str, Tensor], task: str) -> int:
    """Bytes that must be moved: inputs and y; with gradients also inputs and dy once more, and the gradients."""
    inputs = sum(v.numel() * v.element_size() for v in x.values())
    y = x["u"].numel() * x["u"].element_size()
    return inputs + y if task == "forward" else 3 * inputs + 2 * y


def disagreement(thunk: Callable[[], Any], reference: Callable[[], Any]) -> float:
    """The largest difference of two results, relative to the largest value of each tensor; infinite for NaN."""
    pairs = zip(*((x,) if isinstance(x, Tensor) else x for x in (thunk(), reference())), strict=True)
    errors = [((a.float() - b.float()).abs().max() / b.float().abs().max()).item() for a, b in pairs]
    return max(e if e == e else float("inf") for e in errors)


def row(sides: dict[str, Scan], size: str, length: int, dtype: torch.dtype, repeats: int, ceiling: float) -> list[Any]:
    """The measurements of both tasks at one size. Raises SystemExit if the results disagree."""
    x = arguments(size, length, dtype)
    prepared = {name: tasks(scan, x) for name, scan in sides.items()}
    measurements = []
    for task in prepared["manticore"]:
        thunks = {name: each[task] for name, each in prepared.items()}
        error = disagreement(*thunks.values()) if len(thunks) == 2 else None
        if error is not None and error > AGREEMENT[dtype]:
            sys.exit(f"the results disagree by {error:.1e} at {size}, length {length}, {dtype}, {task}")
        seconds = time_in_turns(thunks, repeats)
        rate = traffic(x, task) / seconds["manticore"]
        figures = {"size": size, "length": length, "dtype": str(dtype).removeprefix("torch."), "task": task}
        figures |= {"seconds": seconds, "disagreement": error, "bytes_per_second": rate, "of_copy": rate / ceiling}
        figures |= {"ratio": seconds["mamba_ssm"] / seconds["manticore"] if len(thunks) == 2 else None}
        measurements.append({**figures, "peak_mib": {name: memory(thunk) for name, thunk in thunks.items()}})
    return measurements


def show(figures: dict[str, Any]) -> None:
    """One line of the table."""
    seconds, peak, ratio = figures["seconds"], figures["peak_mib"], figures["ratio"]
    reference = f"{seconds['mamba_ssm'] * 1e3:9.3f} {ratio:6.2f}" if ratio else f"{'-':>9} {'-':>6}"
    label = f"{figures['size']:>10} {figures['length']:6} {figures['dtype']:>8} {figures['task']:>16}"
    rate = f"{figures['bytes_per_second'] / 1e9:7.0f} {figures['of_copy']:7.2f}"
    print(
        label,
        f"{seconds['manticore'] * 1e3:9.3f}",
        reference,
        rate,
        *(f"{mib:9.0f}" for mib in peak.values()),
        flush=True,
    )


def main() -> int:
    """Run the benchmark. Returns 2 if there is no CUDA device."""
    args = parse()
    if not torch.cuda.is_available():
        print("scan.py: error: no CUDA device was found", file=sys.stderr)
        return 2
    import triton

    from manticore.kernels import selective_scan

    sides: dict[str, Scan] = {"manticore": partial(selective_scan, backend="triton")}
    versions = {"torch": torch.__version__, "triton": triton.__version__}
    try:
        import mamba_ssm
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        sides["mamba_ssm"], versions["mamba_ssm"] = selective_scan_fn, mamba_ssm.__version__
    except ImportError:
        print(INSTALL)
    ceiling, device = copy_ceiling(), torch.cuda.get_device_name()
    print(f"{device}, {versions}, copies at {ceiling / 1e9:.0f} GB/s; ms, then MiB of each")
    print(f"{'size':>10} {'length':>6} {'dtype':>8} {'task':>16} {'manticore':>9} {'mamba_ssm':>9}", end=" ")
    print(f"{'ratio':>6} {'GB/s':>7} {'of copy':>7} {'MiB':>9}")
    rows: list[Any] = []
    for size in args.sizes:
        for name in args.dtypes:
            for length in args.lengths:
                try:
                    measurements = row(sides, size, length, getattr(torch, name), args.repeats, ceiling)
                except torch.cuda.OutOfMemoryError:
                    measurements = []
                    print(f"{size:>10} {length:6} {name:>8} out of memory")
                torch.cuda.empty_cache()
                for figures in measurements:
                    show(figures)
                rows += measurements
    report = {"device": device, "versions": versions, "copy_bytes_per_second": ceiling, "rows": rows}
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
