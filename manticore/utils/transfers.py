"""Numbers of the host as tensors on a device, without a synchronization of host and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def numbers_on(values: Sequence[Any], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers, or rows of numbers, as a tensor on a device.

    `torch.tensor(values, device="cuda")` waits until the GPU has done all work before it; the copy from pinned memory
    does not.
    """
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)
