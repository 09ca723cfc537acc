"""Part `step`: a search step at the paper's ListOps size: time, memory, shares by kernel, and host stops."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timing import peak_bytes, synchronize, times_in_turns

from manticore import kernels
from manticore.bench.search_step import LABELS, NAMES, VOCAB, ComponentAlone, components, optimizer_step
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec

STAGES = 6
KINDS = {
    "matrix products": ("gemm", "cutlass", "nvjet", "xmma", "splitk"),
    "scans": ("scan_", "selective"),
    "convolutions": ("conv",),
    "attention": ("flash", "attention", "fmha", "softmax"),
}


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Shares of GPU time by kind of kernel, as recognized by its name; of CPU time in a dry run."""
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA if torch.cuda.is_available() else activity.CPU]) as profile:
        step()
        synchronize()
    time: Counter[str] = Counter()
    for event in profile.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "rest")
        time[kind] += int(event.self_device_time_total or event.self_cpu_time_total)
    return {kind: value / max(time.total(), 1) for kind, value in time.items()}


def host_stops(step: Callable[[], object]) -> int | None:
    """How often one step waits for the GPU; None without one."""
    if not torch.cuda.is_available():
        step()
        return None
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def run(recorder: Any) -> None:
    """Both components alone, the dense mixture, a sampled path and the alphas, in bf16 and fp32."""
    width, layers, batch, length = (16, 6, 1, 8) if recorder.dry else (512, 6, 8, 2000)
    kernels.install()
    ids = torch.randint(3, VOCAB, (batch, length), device=recorder.device)
    labels = torch.randint(0, LABELS, (batch,), device=recorder.device)
    for dtype in (torch.bfloat16,) if recorder.dry else (torch.bfloat16, torch.float32):
        torch.manual_seed(0)
        parts = components(width, layers, length)
        space, head = SearchSpace(NAMES, stages=STAGES), HeadSpec("classification", VOCAB, LABELS)
        net = Supernet(parts, space, "mamba", head).to(recorder.device).train()

        def stepper(
            model: Any, alphas: bool = False, dtype: torch.dtype = dtype, **options: Any
        ) -> Callable[[], object]:
            def loss() -> torch.Tensor:
                with torch.autocast(recorder.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
                    logits = model(ids, **options)
                return F.cross_entropy(logits.float(), labels)

            return optimizer_step(model, loss, alphas=alphas)

        steps = {part.name: stepper(ComponentAlone(part).to(recorder.device).train()) for part in parts}
        steps |= {"dense": stepper(net), "path": stepper(net, path=tuple((NAMES * STAGES)[:STAGES]))}
        steps["alphas"] = stepper(net, alphas=True)
        seconds = times_in_turns(steps, 1 if recorder.dry else 10, warmups=1 if recorder.dry else 3)
        total = sum(seconds[name] for name in NAMES)
        for name, step in steps.items():
            figures = {"step": name, "dtype": str(dtype), "time": seconds[name], "of_the_sum": seconds[name] / total}
            figures |= {"tokens_per_second": ids.numel() / seconds[name], "peak_bytes": peak_bytes(step)}
            recorder.row(**figures, shares=shares(step), host_stops=host_stops(step))
        del net, steps
