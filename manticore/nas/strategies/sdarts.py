"""SmoothDARTS (arXiv 2002.05283): weights are trained under perturbed alphas.

A mixture that depends on exact alphas loses most when it is discretized; perturbations smooth the loss around the
alphas. They are random, or the worst within a bound:

    random:       weights minimize  L_train(w, alpha + delta),   delta ~ U(-eps, eps)
    adversarial:  weights minimize  max over |delta| <= eps of L_train(w, alpha + delta),

with eps rising from 0 to `EPSILON`. The maximum is approached by projected gradient ascent,

    delta <- clip(delta + step sign(grad_delta L_train(w, alpha + delta)), -eps, eps),   step = 2 eps / `ASCENTS`,

from a random start, and delta is 0 if the loss has not become larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from manticore.nas.strategies.base import Search, strategies
from manticore.nas.strategies.darts import Darts
from manticore.tasks.dataset import Batch
from manticore.utils.rng import random_source

EPSILON = 0.3
"""Largest perturbation at the end of a search."""

ASCENTS = 7
"""Gradient steps of an adversarial perturbation."""


@strategies.register("sdarts")
class SmoothDarts(Darts):
    """A step of the alphas, then a step of the weights with perturbed alphas."""

    def update_weights(self, search: Search, batches: dict[str, Batch]) -> Tensor:
        alphas = search.net.alphas
        before = [alpha.detach().clone() for alpha in alphas]
        bound = EPSILON * search.net.progress
        _set(alphas, before, [_uniform(alpha, bound) for alpha in alphas])
        if bound:
            self.perturb(search, batches["weights"], before, bound)
        loss = search.weight_step(batches["weights"])
        _set(alphas, before)
        return loss

    def perturb(self, search: Search, batch: Batch, before: Sequence[Tensor], bound: float) -> None:
        """Change the randomly perturbed alphas, within `bound` of the alphas `before`. Default: no change."""


@strategies.register("sdarts-adversarial")
class AdversarialDarts(SmoothDarts):
    """A step of the alphas, then a step of the weights under the alphas within the bound that maximize the loss."""

    def perturb(self, search: Search, batch: Batch, before: Sequence[Tensor], bound: float) -> None:
        ascend(search, batch, before, bound)


def ascend(search: Search, batch: Batch, before: Sequence[Tensor], bound: float, steps: int = ASCENTS) -> None:
    """Move the alphas to a larger loss on a batch, within `bound` of the alphas `before`; see the formula above.

    The loss of the unperturbed alphas is computed first. A gradient of the alphas costs two forward passes.
    """
    alphas = search.net.alphas
    delta = [alpha.detach() - value for alpha, value in zip(alphas, before, strict=True)]
    _set(alphas, before)
    start = float(search.losses(batch, [{}]))
    for _ in range(steps):
        _set(alphas, before, delta)
        _, slopes = search.gradients(batch, alphas)
        delta = [
            change if slope is None else (change + 2 * bound / steps * slope.sign()).clamp(-bound, bound)
            for change, slope in zip(delta, slopes, strict=True)
        ]
    _set(alphas, before, delta)
    if float(search.losses(batch, [{}])) <= start:
        _set(alphas, before)
    search.count_passes(batch, 2 * steps + 2)


def _uniform(alpha: Tensor, bound: float) -> Tensor:
    return torch.empty_like(alpha).uniform_(-bound, bound, generator=random_source(alpha.device))


@torch.no_grad()
def _set(alphas: Sequence[nn.Parameter], before: Sequence[Tensor], delta: Sequence[Tensor] | None = None) -> None:
    """Set the alphas to those before, plus a perturbation."""
    for index, (alpha, value) in enumerate(zip(alphas, before, strict=True)):
        alpha.copy_(value if delta is None else value + delta[index])
