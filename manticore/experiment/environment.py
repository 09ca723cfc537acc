"""The machine that a run uses: device, precision, threads, kernels, memory allocation, and its description.

By default glibc returns large blocks of memory to the system when they are freed. The next allocation gets new pages,
which the system zeroes one by one. Training on a CPU frees and allocates such blocks at every step, so freed blocks are
kept in the process.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from manticore import kernels
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.training.trainer import Hardware
from manticore.utils.cores import available_cores

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 2**30


def set_malloc_thresholds() -> bool:
    """Ask glibc to keep freed blocks of up to 1 GiB in this process. Returns whether it does; False without glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _LARGE) and mallopt(_TRIM_THRESHOLD, 2 * _LARGE - 1))


def setup_hardware(options: RunOptions) -> Hardware:
    """Choose device and precision, set threads, install the kernels in transformers. Raises ManticoreError."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ManticoreError("run.device is cuda, but torch sees no CUDA device here; use auto or cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device != "cpu" and torch.cuda.is_available()
    precision = options.precision if options.precision != "auto" else ("bf16-mixed" if cuda else "32-true")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kernels.install()
    set_malloc_thresholds()
    return Hardware("cuda" if cuda else "cpu", precision, options.checkpoint_every)


def _processor() -> str:
    """Name of the processor, from /proc/cpuinfo where it exists."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def environment_info() -> dict[str, Any]:
    """Processor, GPU and versions of libraries, for result files."""
    return {
        "cpu": _processor(),
        "cores": available_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
