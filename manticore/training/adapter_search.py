"""The fine-tuning of a model whose adapters have searched sizes: steps of sizes and weights in turn, then one size."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from manticore.adapters.searched import decide_sizes, searched_layers, size_parameters, size_penalty
from manticore.tasks.dataset import Batch
from manticore.training.gradient_steps import Update
from manticore.training.modules import TrainModule

WARMUP = 0.25
"""Share of the steps before the choice in which the mixing weights of the sizes stay uniform."""

MAX_GRAD_NORM = 1.0
"""Largest norm of the gradient of the mixing weights."""


def size_optimizer(net: nn.Module) -> Optimizer | None:
    """The optimizer of the mixing weights of sizes; None if no sizes are searched."""
    layers = list(searched_layers(net).values())
    if not layers:
        return None
    return Adam(size_parameters(net), lr=layers[0].options.lr, betas=(0.5, 0.999))


def size_update(net: nn.Module, optimizer: Optimizer) -> Update:
    """The update of the mixing weights of sizes."""
    return Update(optimizer, size_parameters(net), MAX_GRAD_NORM)


class AdapterSearchModule(TrainModule):
    """Trains the adapters of a model and searches their sizes, by first-order bilevel steps.

    Up to the choice, a step of the sizes on `train_arch` precedes each step of the weights on `train`. Afterwards the
    batches of both splits train the weights in turn. The arguments are those of `TrainModule`.
    """

    streams = {"weights": ("train",), "alphas": ("train_arch",)}
    default_phase = "fine-tune"

    @property
    def method(self) -> str:
        """What the checkpoint continues."""
        return "searched sizes of adapters"

    @property
    def decision_step(self) -> int:
        """The step at whose end each layer keeps one size."""
        share: float = next(iter(searched_layers(self.net).values())).options.share
        return max(1, round(share * self.steps))

    def configure_optimizers(self) -> Any:
        (weights,), schedules = super().configure_optimizers()
        return [weights, size_optimizer(self.net)], schedules

    def training_step(self, batch: Any, batch_idx: int) -> None:
        batches = self.by_stream(batch)
        losses: dict[str, Tensor | float] = {}
        last = self.decision_step
        if WARMUP * last <= self.step_count < last:
            losses["alpha_loss"] = self.size_step(batches["alphas"])
        stream = "alphas" if self.step_count >= last and self.step_count % 2 else "weights"
        losses["loss"] = self.weight_step(batches[stream])
        self.metrics = losses
        if self.step_count + 1 == last:
            decide_sizes(self.net)
        self.finish_step()

    def size_step(self, batch: Batch) -> Tensor:
        """One step of the mixing weights by the loss and their cost. Returns the loss."""
        optimizers: Any = self.optimizers()
        return self._step(batch, [size_update(self.net, optimizers[1])], lambda: size_penalty(self.net), passes=2)
