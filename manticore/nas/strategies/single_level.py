"""The paper's single level (arXiv 2406.00894): weights and alphas move on the same batch of all training data."""

from __future__ import annotations

from typing import ClassVar

from manticore.nas.strategies.base import Batch, Search, strategies


@strategies.register("simultaneous")
class Simultaneous:
    """One forward and backward pass feeds both optimizers; both splits serve as one training set."""

    splits: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train", "train_arch")}

    def step(self, search: Search, batches: dict[str, Batch]) -> dict[str, float]:
        if search.warming_up:
            return {"loss": search.weight_step(batches["weights"])}
        loss = search.joint_step(batches["weights"])
        return {"loss": loss, "alpha_loss": loss}
