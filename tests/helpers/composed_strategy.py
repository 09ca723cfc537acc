"""A strategy that uses what the shipped ones do not: random mixing weights, policy steps and a gradient of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from manticore.nas.relaxations import RelaxationContext
from manticore.nas.strategies import Darts
from manticore.nas.strategies.base import Search
from manticore.tasks.dataset import Batch

RELAXATION = "noisy-softmax"


def noisy_softmax(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """Softmax of the alphas with Gaussian noise in training steps; register it as `RELAXATION`."""
    if context.generator is None:
        return alpha_SK.softmax(-1)
    return (alpha_SK + torch.randn(alpha_SK.shape, generator=context.generator)).softmax(-1)


class Composed(Darts):
    """After the warm-up: a policy step on two sampled paths, a step by the gradient of the loss, a weight step."""

    relaxation: ClassVar[str | None] = RELAXATION

    def step(self, search: Search, batches: dict[str, Batch]) -> dict[str, float]:
        losses = {}
        if not search.warming_up:
            batch, net = batches["alphas"], search.net
            losses["alpha_loss"] = search.policy_step(
                batch, [net.sample(), net.sample()], lambda losses_N: losses_N - losses_N.mean()
            )
            gradients = torch.autograd.grad(search.loss(batch), net.alphas)
            for alpha, gradient in zip(net.alphas, gradients, strict=True):
                alpha.grad = gradient
            search.update_alphas(batch)
        losses["loss"] = search.weight_step(batches["weights"])
        return losses
