"""A step of every registered strategy, on the supernet of the benchmark and without a Trainer.

A strategy that trains paths by themselves takes a training step of one path; one that trains nothing scores one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from manticore.bench.timing import Thunk
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.strategies import PathStrategy, Strategy, TrainingFree, strategies
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch
from manticore.training.modules import TrainModule
from manticore.training.options import SearchOptions, WeightOptions
from manticore.training.search_module import SearchModule

STEPS = 1000
"""Number of steps of the search; a step in its middle is timed."""


class ManualLoop:
    """A module that trains without a Trainer: it creates its optimizers itself."""

    def optimizers(self: Any, *_: Any, **__: Any) -> Any:
        """The optimizers, created by the first call."""
        if not hasattr(self, "created"):
            self.created, self.schedules = self.configure_optimizers()
        return self.created

    def lr_schedulers(self: Any) -> Any:
        """The schedules of the optimizers."""
        self.optimizers()
        return self.schedules

    def manual_backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        """The backward pass of a loss."""
        loss.backward(*args, **options)


class ManualSearch(ManualLoop, SearchModule):
    """A search without a Trainer."""


class ManualTraining(ManualLoop, TrainModule):
    """A training without a Trainer."""


def strategy_steps(
    supernet: Supernet, language_model: Supernet, path: Sequence[str], batch: Batch
) -> tuple[dict[str, Thunk], dict[str, str]]:
    """A step for each registered strategy, by name, or the reason why a strategy cannot search the supernet.

    Args:
        supernet: of a classification task; all steps change it.
        language_model: the same components with their own heads, for strategies that need aligned language models.
        path: the path that is trained by strategies that train paths by themselves.
        batch: the batch of every step: input_ids (B, L), attention_mask (B, L), labels (B,).
    """
    steps: dict[str, Thunk] = {}
    reasons: dict[str, str] = {}
    for name in strategies:
        strategy = strategies[name]()
        net = language_model if strategy.needs_alignment else supernet
        try:
            strategy.check(net)
        except ManticoreError as error:
            reasons[name] = str(error)
            continue
        if isinstance(strategy, PathStrategy):
            steps[name] = _path_step(net, path, batch)
        elif isinstance(strategy, TrainingFree):
            steps[name] = _scoring_step(net, strategy, batch)
        else:
            adds_parameters = type(strategy).prepare is not Strategy.prepare
            steps[name] = _search_step(deepcopy(net) if adds_parameters else net, strategy, batch)
    return steps, reasons


def _search_step(net: Supernet, strategy: Strategy, batch: Batch) -> Thunk:
    """One call of `Strategy.step`: all its updates of alphas and of weights."""
    before = net.relax
    module: Any = ManualSearch(net, strategy, SearchOptions(steps=STEPS))
    relaxation, net.relax = net.relax, before
    module.step_count = STEPS // 2
    batches = dict.fromkeys(strategy.streams, batch)

    def step() -> None:
        net.relax, net.progress = relaxation, 0.5
        strategy.step(module, batches)
        net.relax = before

    return step


def _path_step(net: Supernet, path: Sequence[str], batch: Batch) -> Thunk:
    model = discretize(net, list(path)).to(batch["input_ids"].device).train()
    module: Any = ManualTraining(model, WeightOptions(), STEPS)
    return lambda: module.weight_step(batch)


def _scoring_step(net: Supernet, strategy: TrainingFree, batch: Batch) -> Thunk:
    def step() -> None:
        with torch.no_grad():
            strategy.search(net, [batch])

    return step
