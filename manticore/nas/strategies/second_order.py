"""Second-order DARTS (arXiv 1806.09055, section 2.3 with xi > 0, and eq. 8): alphas look one weight step ahead.

With w' = w - xi grad_w L_train(w, alpha) and v = grad_w' L_arch(w', alpha), the gradient of the alphas is

    grad_alpha L_arch(w', alpha)
        - xi (grad_alpha L_train(w + eps v, alpha) - grad_alpha L_train(w - eps v, alpha)) / (2 eps)

with eps = 0.01 / |v| and xi the learning rate of the weights. The finite difference needs no second derivatives, which
fused kernels do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from manticore.nas.strategies.base import Search, strategies
from manticore.nas.strategies.darts import Darts
from manticore.tasks.dataset import Batch

EPSILON = 0.01

PASSES = 10
"""Cost of an alpha step in forward passes: 3 each for the gradients of weights and of both, 2 each for two of the
alphas."""


@strategies.register("darts-second-order")
class SecondOrderDarts(Darts):
    """An alpha step by the unrolled gradient, then a weight step."""

    searches_sizes: ClassVar[bool] = False
    runs_sharded: ClassVar[bool] = False

    def update_alphas(self, search: Search, batches: dict[str, Batch]) -> Tensor:
        loss, gradients = unrolled_gradient(search, batches["weights"], batches["alphas"])
        for alpha, gradient in zip(search.net.alphas, gradients, strict=True):
            alpha.grad = gradient
        search.update_alphas(batches["alphas"], passes=PASSES)
        return loss


def unrolled_gradient(search: Search, train: Batch, arch: Batch) -> tuple[Tensor, list[Tensor]]:
    """The loss on `arch` after one weight step on `train`, and its gradient in the alphas, the regularizer's included.

    The weights are unchanged afterwards.
    """
    weights, alphas, rate = search.weights, search.net.alphas, search.weight_lr
    start = [weight.detach().clone() for weight in weights]
    # w' = w - xi grad_w L_train(w, alpha)
    _, steps = search.gradients(train, weights)
    _move(weights, start, steps, -rate)
    loss, gradients = search.gradients(arch, [*alphas, *weights], search.penalty)
    direct, v = gradients[: len(alphas)], gradients[len(alphas) :]  # in alpha, and v = grad_w' L_arch(w', alpha)
    norm = torch.sqrt(sum((g.float().square().sum() for g in v if g is not None), torch.zeros(())))
    epsilon = EPSILON / float(norm + 1e-15)
    # The Hessian product d2 L_train / (d alpha d w) v as a central difference over w +- eps v
    ends = []
    for sign in (1.0, -1.0):
        _move(weights, start, v, sign * epsilon)
        ends.append(search.gradients(train, alphas)[1])
    _move(weights, start, v, 0.0)
    out = []
    for alpha, own, plus, minus in zip(alphas, direct, *ends, strict=True):
        total = torch.zeros_like(alpha) if own is None else own
        if plus is not None and minus is not None:
            total = total - rate * (plus - minus) / (2 * epsilon)
        out.append(total)
    return loss, out


@torch.no_grad()
def _move(
    weights: Sequence[nn.Parameter], start: Sequence[Tensor], direction: Sequence[Tensor | None], length: float
) -> None:
    """Set the weights to `start + length * direction`, where there is a direction."""
    for weight, origin, step in zip(weights, start, direction, strict=True):
        weight.copy_(origin if step is None or not length else origin + length * step)
