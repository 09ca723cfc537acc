"""Arguments of the selective scan as transformers' Mamba mixer passes them, and what is timed with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from manticore.kernels.backends.triton.scan import selective_scan
from manticore.kernels.backends.triton.tilings import Tiling
from manticore.kernels.ops import ScanArgs


def mixer_arguments(
    batch: int, width: int, states: int, length: int, dtype: torch.dtype, device: str
) -> dict[str, Tensor]:
    """Random arguments with the mixer's strides; A, D and the bias are in fp32."""
    torch.manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, device=device, dtype=dtype)

    rank = -(-width // 32)
    _, B, C = normal(batch, length, rank + 2 * states).split([rank, states, states], dim=-1)
    tensors = {"u": normal(batch, width, length), "delta": normal(batch, length, width).mT - 2, "B": B.mT, "C": C.mT}
    tensors["z"] = normal(batch, length, 2 * width).mT.chunk(2, dim=1)[1]
    tensors["A"] = -torch.arange(1.0, states + 1, device=device).repeat(width, 1)
    tensors |= {name: normal(width, dtype=torch.float32) for name in ("D", "delta_bias")}
    return {name: x.detach().requires_grad_() for name, x in tensors.items()}


def triton_scan(tiling: Tiling | None = None) -> Callable[..., Any]:
    """The Triton scan with one tiling, as a function of the operation's arguments."""
    return lambda **fields: selective_scan(ScanArgs(**fields), tiling)


def forward_and_both(scan: Callable[..., Any], x: dict[str, Tensor]) -> dict[str, Callable[[], Any]]:
    """The forward pass, and forward and backward pass with all gradients."""
    cotangent = torch.ones_like(x["u"])

    def forward() -> Any:
        with torch.no_grad():
            return scan(**x, delta_softplus=True)

    def both() -> Any:
        return torch.autograd.grad(scan(**x, delta_softplus=True), list(x.values()), cotangent)

    return {"forward": forward, "forward+backward": both}
