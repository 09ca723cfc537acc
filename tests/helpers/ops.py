"""Ops of a user's own, as candidates of search spaces at pico size."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import manticore as mc
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component

CONV, ATTENTION, EMA = "conv", "attn", "ema"


def shift_right(x_BLD: Tensor, by: int) -> Tensor:
    """Zeros before the first token."""
    return F.pad(x_BLD, (0, 0, by, 0))


class Conv(nn.Module):
    """A causal depthwise convolution behind a norm, with a cache."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, groups=width)
        self.kernel = kernel

    def forward(self, x_BLD: Tensor) -> Tensor:
        out: Tensor = self.conv(shift_right(self.norm(x_BLD), self.kernel - 1).transpose(1, 2)).transpose(1, 2)
        return out

    def init_cache(self, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """The last inputs of the convolution."""
        return {"window": torch.zeros(batch, self.kernel - 1, self.conv.in_channels, device=device, dtype=dtype)}

    def step(self, x_B1D: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One more token."""
        window = torch.cat([cache["window"], self.norm(x_B1D)], dim=1)
        out = self.conv(window.transpose(1, 2)).transpose(1, 2)
        return out, {"window": window[:, 1:]}


class Ema(nn.Module):
    """A mean of the past, weighted by age, whose cache `step` changes in place; its update starts at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.full((width,), 2.0))
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x_BLD: Tensor) -> Tensor:
        cache = self.init_cache(len(x_BLD), x_BLD.device, x_BLD.dtype)
        return torch.cat([self.step(x_B1D, cache)[0] for x_B1D in x_BLD.split(1, dim=1)], dim=1)

    def init_cache(self, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """The mean before the first token."""
        return {"mean": torch.zeros(batch, len(self.decay), device=device, dtype=dtype)}

    def step(self, x_B1D: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One more token."""
        decay = self.decay.sigmoid()
        cache["mean"] = decay * cache["mean"] + (1 - decay) * x_B1D[:, 0]
        out: Tensor = self.out(cache["mean"].unsqueeze(1))
        return out, cache


class Attention(nn.Module):
    """Causal attention with one head and no cache, in which a token counts more the later it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BLD).chunk(3, dim=-1)
        length = x_BLD.shape[1]
        scores = q @ k.transpose(1, 2) / math.sqrt(k.shape[-1]) + 0.1 * torch.arange(length, device=q.device)
        seen = torch.ones(length, length, device=q.device, dtype=torch.bool).tril()
        out: Tensor = self.out(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v)
        return out

    def mixing_flops(self, length: int) -> float:
        """Scores and values, over the mean number of visible tokens."""
        return 4.0 * self.out.in_features * (length + 1) / 2


class Mean(nn.Module):
    """The mean of all tokens, later ones included, without padding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, mask: Tensor | None = None) -> Tensor:
        count = x_BLD.shape[1] if mask is None else mask.sum(1).view(-1, 1, 1)
        out: Tensor = self.out(x_BLD.sum(1, keepdim=True) / count).expand_as(x_BLD)
        return out


def make_mean(width: int, scale: float = 1.0) -> nn.Module:
    """A factory that is a function."""
    mean = Mean(width)
    nn.init.normal_(mean.out.weight, std=scale)
    return mean


OPS = (mc.Op(CONV, Conv, options={"kernel": 4}), mc.Op(ATTENTION, Attention), mc.Op(EMA, Ema))
"""Two ops with a cache, and one without."""

RESTRICTED: dict[str, Any] = {
    "stages": 4,
    "skip": True,
    "stage_candidates": {1: ["base", CONV], 2: ["donor", EMA, "skip"], 4: [ATTENTION, "donor", "base"]},
    "shared_stages": [[1, 3]],
    "cuts": {"base": [0, 1, 2, 3, 4], "donor": [0, 2, 3, 4, 5]},
}
"""Stages that differ in their candidates, share their choice, and are cut by hand."""


def op_supernet(base: str = "gpt2", donor: str = "mamba", head_spec: HeadSpec | None = None, **space: Any) -> Supernet:
    """A supernet of two families, `base` and `donor`, and three ops; projectors and ops are moved off their start."""
    components = [component(base, "base"), component(donor, "donor")]
    options = {"stages": 3, "ops": OPS, **space}
    net = Supernet(components, mc.SearchSpace(["base", "donor"], **options), "base", head_spec or HeadSpec())
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if is_projector_weight(name) or ".op." in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()
