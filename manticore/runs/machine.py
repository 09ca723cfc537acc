"""What the run computes on, and how that is told. Knows nothing of models."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from manticore import kernels
from manticore.errors import ManticoreError
from manticore.heap import keep_freed_memory
from manticore.recipe import RunOptions
from manticore.training.fit import Machine


def prepare(options: RunOptions) -> Machine:
    """Choose device and precision, set threads, lend our kernels to transformers. Raises ManticoreError."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ManticoreError("run.device is cuda, but torch sees no CUDA device here; use auto or cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device != "cpu" and torch.cuda.is_available()
    precision = options.precision if options.precision != "auto" else ("bf16-mixed" if cuda else "32-true")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kernels.install()
    keep_freed_memory()
    return Machine("cuda" if cuda else "cpu", precision, options.checkpoint_every, options.log_every)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """The machine in words, for the metrics."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
