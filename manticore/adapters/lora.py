"""LoRA (arXiv 2106.09685): the change of a weight is a matrix of low rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters, check_side
from manticore.utils.fields import Checked, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class LoRAOptions(Checked):
    """Options of LoRA."""

    rank: PositiveInt = 8
    """Rank of the change."""

    alpha: PositiveFloat | None = None
    """The change is scaled by alpha / rank. Default: alpha = rank, without a scale."""


@adapters.register("lora")
class LoRA(Adapter):
    """`D = (alpha / r) B A` with A (r, n), drawn as a linear layer's weight, and B (m, r), at first 0."""

    Options = LoRAOptions
    factored = True
    peft = ("LORA", {"A": "lora_A.weight", "B": "lora_B.weight"})

    def __init__(self, weight: Tensor, options: LoRAOptions) -> None:
        super().__init__(weight, options)
        self.scale = 1.0 if options.alpha is None else options.alpha / options.rank
        self.A = nn.Parameter(weight.new_empty(options.rank, self.columns))
        self.B = nn.Parameter(weight.new_zeros(self.rows, options.rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    @classmethod
    def check(cls, rows: int, columns: int, options: LoRAOptions) -> None:
        check_side("rank", options.rank, rows, columns)

    def delta(self) -> Tensor:
        return self.scale * (self.B @ self.A)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(F.linear(x, self.A), self.B)

    def peft_config(self) -> dict[str, Any]:
        return {"r": self.options.rank, "lora_alpha": self.options.alpha or self.options.rank}

    @torch.no_grad()
    def approximate_(self, target: Tensor) -> None:
        """Set the factors so that D is the nearest matrix of rank r to `target` (m, n): its truncated SVD."""
        U, S, V = torch.linalg.svd(target, full_matrices=False)
        rank = self.options.rank
        self.B.copy_(U[:, :rank] * S[:rank] / self.scale)
        self.A.copy_(V[:rank])
