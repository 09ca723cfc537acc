"""CorDA (arXiv 2406.05223): low-rank factors that start from the directions of the layer's inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters, check_side
from manticore.adapters.lora import LoRA, LoRAOptions
from manticore.utils.fields import Checked, PositiveInt

DAMPING = 0.01
"""Added to the diagonal of the moments, as a multiple of its mean, so that they can be inverted."""


@dataclass(frozen=True)
class CorDAOptions(Checked):
    """Options of CorDA."""

    rank: PositiveInt = 8
    """Rank of the trained factors."""

    mode: Literal["preserve", "preview"] = "preserve"
    """The trained directions: preserve (those that matter least on the inputs, so that what the others know is kept) or
    preview (those that matter most)."""


@adapters.register("corda")
class CorDA(Adapter):
    """`D = B A - B0 A0` with the factors B0 A0 of some singular directions of W C, for the moments C of the inputs.

    With `svd(W C) = U S V^T`, `W = U S V^T C^-1`. Of r directions, `B0 = U S^1/2` and
    `A0 = S^1/2 V^T C^-1` are where B and A start; the rest of W is not changed. Before `prepare`, D starts as LoRA's.

    Attributes:
        A, B: (r, n) and (m, r), trained.
        A0, B0: their initial values.
    """

    Options = CorDAOptions
    factored = True
    needs_inputs = True

    def __init__(self, weight: Tensor, options: CorDAOptions) -> None:
        super().__init__(weight, options)
        self.A = nn.Parameter(weight.new_empty(options.rank, self.columns))
        self.B = nn.Parameter(weight.new_zeros(self.rows, options.rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.A0: Tensor
        self.B0: Tensor
        self.register_buffer("A0", self.A.detach().clone())
        self.register_buffer("B0", self.B.detach().clone())

    @classmethod
    def check(cls, rows: int, columns: int, options: CorDAOptions) -> None:
        check_side("rank", options.rank, rows, columns)

    @torch.no_grad()
    def prepare(self, weight: Tensor, moment: Tensor) -> None:
        C = moment.double() + DAMPING * moment.double().diagonal().mean() * torch.eye(self.columns, dtype=torch.double)
        U, S, V = torch.linalg.svd(weight.double() @ C, full_matrices=False)
        rank = self.options.rank
        chosen = slice(None, rank) if self.options.mode == "preview" else slice(len(S) - rank, None)
        root = S[chosen].sqrt()
        B0, A0 = U[:, chosen] * root, torch.linalg.solve(C, V[chosen].T * root).T
        for parameter, initial, value in ((self.A, self.A0, A0), (self.B, self.B0, B0)):
            initial.copy_(value)
            parameter.copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.A), self.B) - F.linear(F.linear(x, self.A0), self.B0)

    def delta(self) -> Tensor:
        return self.B @ self.A - self.B0 @ self.A0

    def final(self) -> Adapter:
        """LoRA of twice the rank with the same D."""
        change = LoRA(self.A, LoRAOptions(2 * self.options.rank))
        change.rows, change.columns = self.rows, self.columns
        change.A = nn.Parameter(torch.cat([self.A.detach(), self.A0]))
        change.B = nn.Parameter(torch.cat([self.B.detach(), -self.B0], dim=1))
        return change
