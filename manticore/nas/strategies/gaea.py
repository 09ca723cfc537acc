"""GAEA: exponentiated gradient on the mixing weights instead of Adam on the alphas (arXiv 2004.07802).

    w  <-  w * exp(-eta grad_w L) / Z,   which is   alpha  <-  alpha - eta grad_w L   for w = softmax(alpha).

The gradient in w follows from that in alpha, up to a constant for each stage that Z removes: grad_alpha / w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from manticore.nas.options import AlphaOptions
from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.darts import Darts

LEAST = 1e-6
"""Smallest mixing weight that a gradient is divided by."""


class ExponentiatedGradient(Optimizer):
    """One step of exponentiated gradient for alphas whose softmax over the last dimension are the mixing weights.

    Args:
        alphas: parameters.
        lr: eta.
    """

    def __init__(self, alphas: Iterable[Tensor], lr: float) -> None:
        super().__init__(alphas, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for alpha in group["params"]:
                if alpha.grad is not None:
                    weights = alpha.softmax(-1).clamp_min(LEAST)
                    alpha.sub_(group["lr"] * alpha.grad / weights)


@strategies.register("gaea")
class Gaea(Darts):
    """DARTS with exponentiated gradient. Its rate is `search.alphas.lr`; the paper uses 0.1."""

    relaxation: ClassVar[str | None] = "softmax"

    def alpha_optimizer(self, alphas: Sequence[nn.Parameter], options: AlphaOptions) -> Optimizer:
        return ExponentiatedGradient(alphas, options.lr)
