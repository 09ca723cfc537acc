"""Part `race`: the Triton scan in both modes against mamba-ssm's, eager and as CUDA graphs, with peak memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from scan_calls import forward_and_both, mixer_arguments, triton_scan
from timing import as_graph, peak_bytes, times_in_turns

from manticore.kernels.backends.triton.tilings import tiling_for
from manticore.kernels.hub import package_function

SIZES = [(2, 1536, 16, 65536), (2, 1536, 16, 8192), (8, 1536, 16, 2048), (1, 1536, 16, 1024), (32, 1536, 16, 1024)]
SIZES += [(2, 1536, 64, 8192), (2, 1536, 16, 32768), (8, 1536, 16, 8192), (1, 1536, 16, 65536), (8, 1024, 16, 2000)]
"""Batch, width, states and steps, the most informative first: a part that runs out of time leaves out the last."""


def run(recorder: Any) -> None:
    """One row for each size, dtype, task and mode: seconds of all sides, ratios to mamba-ssm, peak bytes."""
    baseline: dict[str, Callable[..., Any]] = {}
    try:
        baseline["mamba_ssm"] = package_function("mamba_ssm", "ops.selective_scan_interface.selective_scan_fn")
    except Exception as error:
        recorder.row(note=f"mamba-ssm is not here: {error}")
    for size in [(1, 4, 2, 9)] if recorder.dry else SIZES:
        for dtype in (torch.bfloat16,) if recorder.dry else (torch.bfloat16, torch.float32):
            if not recorder.has_time(15):
                recorder.row(size=size, dtype=str(dtype), skipped="no time")
                continue
            x = mixer_arguments(*size, dtype, recorder.device)
            chosen = tiling_for(x["u"], size[2])
            sides = baseline | {"chosen": triton_scan(chosen)}
            if not recorder.dry:
                other = replace(chosen, serial=not chosen.serial)
                sides |= {other.name: triton_scan(other)}
            prepared = {name: forward_and_both(scan, x) for name, scan in sides.items()}
            for task in ("forward", "forward+backward"):
                thunks = {name: each[task] for name, each in prepared.items()}
                figures = {"size": size, "dtype": str(dtype), "task": task}
                measure(recorder, figures | {"chosen": chosen.name, "groups": chosen.groups}, thunks)
            del x, prepared


def measure(recorder: Any, figures: dict[str, Any], thunks: dict[str, Callable[[], Any]]) -> None:
    """Eager and as CUDA graphs, where the calls can be captured."""
    repeats = 1 if recorder.dry else 10
    peaks = {name: peak_bytes(thunk) for name, thunk in thunks.items()}
    for mode, make in (("eager", lambda thunk: thunk), ("graph", as_graph)):
        try:
            seconds = times_in_turns({name: make(thunk) for name, thunk in thunks.items()}, repeats, warmups=1)
        except RuntimeError as error:
            recorder.row(**figures, mode=mode, error=str(error)[:300])
            continue
        base = seconds.get("mamba_ssm")
        ratios = {name: base / value for name, value in seconds.items()} if base else None
        recorder.row(**figures, mode=mode, times=seconds, ratios=ratios, peak_bytes=peaks)
