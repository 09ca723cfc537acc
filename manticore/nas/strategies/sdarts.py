"""SmoothDARTS with random perturbations (arXiv 2002.05283): weights are trained under noisy alphas.

    weights minimize  L_train(w, alpha + delta),   delta ~ U(-eps, eps),   eps rising from 0 to `EPSILON`.

A mixture that depends on exact alphas loses most when it is discretized; noise smooths the loss around the alphas.
"""

from __future__ import annotations

import torch

from manticore.nas.strategies.base import Batch, Search, strategies
from manticore.nas.strategies.darts import Darts

EPSILON = 0.3
"""Largest perturbation at the end of a search."""


@strategies.register("sdarts")
class SmoothDarts(Darts):
    """A step of the alphas, then a step of the weights with perturbed alphas."""

    def update_weights(self, search: Search, batches: dict[str, Batch]) -> float:
        alphas = search.net.alphas
        before = [alpha.detach().clone() for alpha in alphas]
        bound = EPSILON * search.net.progress
        with torch.no_grad():
            for alpha in alphas:
                alpha.add_(torch.empty_like(alpha).uniform_(-bound, bound))
        loss = search.weight_step(batches["weights"])
        with torch.no_grad():
            for alpha, value in zip(alphas, before, strict=True):
                alpha.copy_(value)
        return loss
