"""The paper's single level (arXiv 2406.00894): one batch of all training data updates weights and alphas."""

from __future__ import annotations

from typing import ClassVar

from manticore.nas.strategies.base import Losses, Search, Strategy, strategies
from manticore.tasks.dataset import Batch


@strategies.register("simultaneous")
class Simultaneous(Strategy):
    """One forward and backward pass for both optimizers; both training splits are one training set."""

    searches_sizes: ClassVar[bool] = True
    streams: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train", "train_arch")}

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        if search.warming_up:
            return {"loss": search.weight_step(batches["weights"])}
        loss = search.joint_step(batches["weights"])
        return {"loss": loss, "alpha_loss": loss}
