"""One-hot weights of a sampled path with a gradient of second-order accuracy (ReinMax, arXiv 2304.08612)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manticore.nas.relaxations.base import RelaxationContext, relaxations

TEMPERATURE = 1.0
"""Temperature of the softmax in the gradient; the estimator requires at least 1."""


class _ReinMax(torch.autograd.Function):
    """A sample D of softmax(alpha), and the gradient of ReinMax.

    With p = softmax(alpha), q = (softmax(alpha / T) + D) / 2 and the upstream gradient u,

        grad = 2 (q u - q <q, u>) - (p u - p <p, u>) / 2.
    """

    @staticmethod
    def forward(ctx: Any, alpha_SK: Tensor, generator: torch.Generator) -> Tensor:
        p_SK = alpha_SK.softmax(-1)
        # as torch.multinomial draws, without its check of the weights, which synchronizes on a GPU
        noise_SK = torch.empty_like(p_SK).exponential_(generator=generator)
        drawn_S1 = (p_SK / noise_SK).argmax(-1, keepdim=True)
        hard_SK = torch.zeros_like(p_SK).scatter(-1, drawn_S1, 1.0)
        ctx.save_for_backward(p_SK, ((alpha_SK / TEMPERATURE).softmax(-1) + hard_SK) / 2)
        return hard_SK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        p_SK, q_SK = ctx.saved_tensors
        return 2 * _through_softmax(q_SK, grads[0]) - 0.5 * _through_softmax(p_SK, grads[0]), None


def _through_softmax(p_SK: Tensor, u_SK: Tensor) -> Tensor:
    """The gradient u behind a softmax with the values p."""
    return p_SK * (u_SK - (p_SK * u_SK).sum(-1, keepdim=True))


@relaxations.register("reinmax")
def reinmax(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """A path drawn from the softmax of the alphas; without a source of randomness that softmax."""
    scaled_SK = alpha_SK.float() / context.temperature
    if context.generator is None:
        return scaled_SK.softmax(-1)
    weights_SK: Tensor = _ReinMax.apply(scaled_SK, context.generator)
    return weights_SK
