"""Devices by name: `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where torch sees one. Torch is imported when needed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal

from manticore.errors import ManticoreError, UnknownName

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
"""Names of devices; `cuda:N` is the GPU with the index N."""

Precision = Literal["32-true", "bf16-mixed"]
"""As Lightning names them: single precision, or matrix products in bfloat16."""


def check_device(name: str, what: str = "device") -> None:
    """Raises UnknownName for another name than those of `DEVICES` and `cuda:N`."""
    if name not in DEVICES and not re.fullmatch(r"cuda:\d{1,3}", name):
        raise UnknownName(what, name, DEVICES)


def choose_device(name: str = "auto") -> torch.device:
    """The device that a name stands for on this machine. Raises ManticoreError if torch does not see it."""
    import torch

    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ManticoreError(f"run.device is {name}, but torch sees no CUDA device here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ManticoreError(f"run.device is {name}, but torch sees {torch.cuda.device_count()} GPUs, from cuda:0 on")
    return device


def gpu_of_worker(number: int) -> dict[str, str]:
    """Environment of a worker process, counted from 0, that gives it one of the visible GPUs; empty with one or none.

    The GPUs are counted without a CUDA context in this process.
    """
    import torch

    if torch.cuda.device_count() < 2:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = list(map(str, range(torch.cuda.device_count()))) if not visible else visible.split(",")
    return {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}


def autocast(precision: Precision) -> torch.autocast:
    """The context of forward passes in a precision on the CPU."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")
