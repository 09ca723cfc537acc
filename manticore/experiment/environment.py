"""The machine that a run uses: device, precision, threads, kernels, memory allocation, and its description.

By default glibc returns large blocks of memory to the system when they are freed. The next allocation gets new pages,
which the system zeroes one by one. Training on a CPU frees and allocates such blocks at every step, so freed blocks are
kept in the process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

import torch
import transformers

from manticore import kernels
from manticore.config.sections import RunOptions
from manticore.training.trainer import Hardware
from manticore.utils.cores import available_cores, processor_name
from manticore.utils.devices import choose_device

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
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    precision = options.precision
    if precision == "auto":
        precision = "bf16-mixed" if device.type == "cuda" and _has_bf16(device) else "32-true"
    if device.type == "cuda":
        torch.set_float32_matmul_precision(options.matmul)
    if options.deterministic:  # cuBLAS reads it when the first CUDA context is created
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kernels.install()
    set_malloc_thresholds()
    eval_precision = precision if options.eval_precision == "training" else options.eval_precision
    return Hardware(
        device.type, precision, options.checkpoint_every, device.index, eval_precision, options.deterministic
    )


def _has_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16, and does not emulate it."""
    with torch.cuda.device(device):
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
    return supported


def environment_info(device: torch.device | None = None) -> dict[str, Any]:
    """Processor, GPU and versions of libraries, for result files. `device`: the one that was used; None: the CPU."""
    cuda = device is not None and device.type == "cuda"
    return {
        "cpu": processor_name(),
        "cores": available_cores(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
