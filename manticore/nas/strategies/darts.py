"""First-order DARTS (arXiv 1806.09055, section 2.3 with xi = 0): alternate on two disjoint splits."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from manticore.nas.strategies.base import Losses, Search, Strategy, strategies
from manticore.tasks.dataset import Batch


@strategies.register("darts")
class Darts(Strategy):
    """A step of the alphas on `train_arch`, then a step of the weights on `train`.

    Weights and architecture never see the same example. During the warm-up only weights are updated.
    """

    searches_sizes: ClassVar[bool] = True
    streams: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train",), "alphas": ("train_arch",)}

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        losses: dict[str, Tensor | float] = {}
        if not search.warming_up:
            losses["alpha_loss"] = self.update_alphas(search, batches)
        losses["loss"] = self.update_weights(search, batches)
        return losses

    def update_alphas(self, search: Search, batches: dict[str, Batch]) -> Tensor | float:
        """Update the alphas once. Returns the loss in nats, a scalar."""
        return search.alpha_step(batches["alphas"])

    def update_weights(self, search: Search, batches: dict[str, Batch]) -> Tensor | float:
        """Update the weights once. Returns the loss in nats, a scalar."""
        return search.weight_step(batches["weights"])
