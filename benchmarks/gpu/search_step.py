"""A search step at the paper's ListOps size on a CUDA GPU: throughput, shares of GPU time, gain of torch.compile.

    python benchmarks/gpu/search_step.py --json search_step.json

GPT-Neo (width 512, 6 layers) and Mamba (width 512, 12 layers) in 6 stages, batch 8, 2,000 tokens. For each kind of step
(dense mixture, sampled path, alphas alone) and precision it prints the median time of a step, tokens per second, peak
memory, and the shares of GPU time of matrix products, scans and convolutions, attention, and the rest. Then it runs the
dense step with all segments compiled by torch.compile and replayed as CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

STAGES = 6
KINDS = {
    "matrix products": ("gemm", "cutlass", "nvjet", "xmma", "splitk"),
    "scans and convolutions": ("scan", "ssd", "conv", "chunk", "selective"),
    "attention": ("flash", "attention", "fmha", "softmax"),
}


def build(width: int, layers: int, length: int) -> Any:
    """The supernet of the paper's ListOps components, on the GPU."""
    from manticore.bench.search_step import LABELS, NAMES, VOCAB, components
    from manticore.nas.space import SearchSpace
    from manticore.nas.supernet import Supernet
    from manticore.tasks.task import HeadSpec

    torch.manual_seed(0)
    space, head_spec = SearchSpace(NAMES, stages=STAGES), HeadSpec("classification", VOCAB, LABELS)
    return Supernet(components(width, layers, length), space, "mamba", head_spec).cuda().train()


def stepper(net: Any, ids: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype, kind: str) -> Callable[[], object]:
    """One optimizer step of a search, of the given kind."""
    from manticore.bench.search_step import NAMES, optimizer_step

    options = {"path": (NAMES * STAGES)[:STAGES]} if kind == "sampled path" else {}

    def loss() -> torch.Tensor:
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            return F.cross_entropy(net(ids, **options).float(), labels)

    return optimizer_step(net, loss, alphas=kind == "alphas")


def timed(step: Callable[[], object], repeats: int) -> tuple[float, int]:
    """Median seconds of a step after three warm-up steps, and peak bytes."""
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times), torch.cuda.max_memory_allocated()


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Shares of GPU time by kind of kernel, as recognized by its name."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    time = dict.fromkeys([*KINDS, "rest"], 0.0)
    for event in profile.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "rest")
        time[kind] += event.self_device_time_total
    total = sum(time.values()) or 1.0
    return {kind: value / total for kind, value in time.items()}


def compile_segments(net: Any) -> None:
    """Compile each segment; a CUDA graph replays it (mode `reduce-overhead`)."""
    from manticore.modeling.segments import Segment

    for module in list(net.modules()):
        if isinstance(module, Segment):
            module.backbone.compile(mode="reduce-overhead")


def main() -> int:
    """Run the benchmark. Returns 2 if there is no CUDA device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512, help="features (default 512)")
    parser.add_argument("--layers", type=int, default=6, help="GPT-Neo layers; Mamba has twice as many (default 6)")
    parser.add_argument("--batch", type=int, default=8, help="sequences (default 8)")
    parser.add_argument("--length", type=int, default=2000, help="tokens (default 2000)")
    parser.add_argument("--repeats", type=int, default=20, help="timed steps (default 20)")
    parser.add_argument("--no-compile", action="store_true", help="do not run with torch.compile")
    parser.add_argument("--json", type=Path, help="write the measurements to this file")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("search_step.py: error: no CUDA device was found", file=sys.stderr)
        return 2
    from manticore import kernels
    from manticore.bench.search_step import LABELS, VOCAB

    kernels.install()
    ids = torch.randint(3, VOCAB, (args.batch, args.length), device="cuda")
    labels = torch.randint(0, LABELS, (args.batch,), device="cuda")
    rows: list[dict[str, Any]] = []

    def report(net: Any, dtype: torch.dtype, kind: str, mode: str) -> None:
        step = stepper(net, ids, labels, dtype, kind)
        seconds, peak = timed(step, args.repeats)
        row = {"step": kind, "dtype": str(dtype).removeprefix("torch."), "mode": mode, "seconds": seconds}
        row |= {"tokens_per_second": ids.numel() / seconds, "peak_bytes": peak, "shares": shares(step)}
        rows.append(row)
        parts = ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items())
        print(f"{kind:14} {row['dtype']:9} {mode:9} {seconds * 1e3:8.1f} ms {row['tokens_per_second']:10,.0f} tokens/s")
        print(f"{'':14} peak {peak / 2**30:.1f} GiB; {parts}", flush=True)

    for dtype in (torch.float32, torch.bfloat16):
        net = build(args.width, args.layers, args.length)
        for kind in ("dense mixture", "sampled path", "alphas"):
            report(net, dtype, kind, "eager")
        if not args.no_compile:
            compile_segments(net)
            report(net, dtype, "dense mixture", "compiled")
        del net
        torch.cuda.empty_cache()
    if args.json:
        facts = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "size": vars(args)}
        args.json.write_text(json.dumps(facts | {"rows": rows}, indent=1, default=str))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
