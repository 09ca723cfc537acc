"""The LightningModule of a search: one training step is one step of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manticore.adapters.searched import decide_sizes, size_parameters, size_penalty
from manticore.errors import ManticoreError, shown
from manticore.nas.collapse import ITERATIONS, SEQUENCES, is_check, largest_eigenvalue
from manticore.nas.expected_cost import CostPenalty
from manticore.nas.regularizers import regularizers
from manticore.nas.relaxations import relaxations
from manticore.nas.searchable import as_searchable, assign_alphas, likeliest_path
from manticore.nas.strategies import PathStrategy, Strategy, TrainingFree, as_strategy, strategy_name
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch
from manticore.training.adapter_search import size_optimizer, size_update
from manticore.training.batching import count_tokens
from manticore.training.deferred_reads import WeightsAhead
from manticore.training.gradient_steps import Update
from manticore.training.losses import LossFunction
from manticore.training.modules import TrainModule
from manticore.training.optimizers import cosine
from manticore.training.options import LoopOptions, SearchOptions
from manticore.training.rows import first_examples, num_examples, own_examples
from manticore.utils.fields import from_mapping
from manticore.utils.module_state import eval_mode, trainable_only
from manticore.utils.rng import drawing

PATHS, ALL_PATHS = "paths", "noted_all_paths"
"""Key of a batch that has a path for each example, as indices of candidates, (B, S), and an attribute of these paths:
those of the whole batch."""


class SearchModule(TrainModule):
    """Trains the weights and the alphas of a network by a strategy.

        trainer = lightning.Trainer(max_steps=400, callbacks=[...], logger=...)
        trainer.fit(module := mc.SearchModule(supernet, "darts"), mc.SearchData(task))
        module.path

    Args:
        net: a supernet, or any model that holds MixedOps.
        strategy: the strategy, which defines a step and the streams that it reads: a name, a `Strategy` or its class.
            Default: that of the options.
        options: section `search` of a recipe, as an object or a mapping. Without `steps` the search is as long as the
            Trainer trains.
        loop: how a step is run, or a mapping of `LoopOptions`.
        loss: a function from the model and a batch to a scalar. Default: cross-entropy of the logits and
            `batch["labels"]`.
        phase: name of this training, for callbacks and loggers.
        cost: penalty of expected costs beyond limits, a term of the loss of the alphas. Default: none.
        settings: options of the search by name, over those of `options`: `steps=400, weights={"lr": 1e-3}`. Without
            `options` and `warmup_steps` the warm-up is 100 steps, but at most a quarter of the search.

    A strategy that trains nothing reads its batches in the first steps, sets the alphas and ends the training.

    Attributes:
        reads_ahead: whether the path of a weight step is drawn from the mixing weights before the step, which were
            copied meanwhile, and not from those after its alpha step, for which a GPU must be waited for. None: on a
            GPU.

    Raises:
        UnknownName: no such strategy, relaxation, regularizer or option.
        ManticoreError: an option out of range, a model with nothing to search, or one that the strategy cannot search.
    """

    net: Any  # an nn.Module that is Searchable
    has_alphas = True
    default_phase = "search"

    def __init__(
        self,
        net: nn.Module,
        strategy: str | Strategy | type[Strategy] | None = None,
        options: SearchOptions | Mapping[str, Any] | None = None,
        loop: LoopOptions | Mapping[str, Any] | None = None,
        *,
        loss: LossFunction | None = None,
        phase: str | None = None,
        cost: CostPenalty | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(options, Mapping):
            settings = {**options, **settings}
            options = None
        elif not isinstance(options, SearchOptions | None):
            raise ManticoreError(f"options are SearchOptions or a mapping, not {shown(options)}")
        self._settings = settings
        steps = settings.get("steps", None if options is None else options.steps)
        chosen = _search_options(options, settings)
        super().__init__(as_searchable(net), chosen.weights, steps, loop, loss=loss, phase=phase)
        self.options, self.cost = chosen, cost
        self.strategy = as_strategy(chosen.strategy if strategy is None else strategy, chosen.strategy_options)
        self.batch_size = chosen.batch_size
        self.streams = self.strategy.streams
        self._check_strategy()
        self.strategy.prepare(self.net)
        self._apply_options()
        self.regularizer = self.strategy.regularizer(
            regularizers[chosen.regularizer](chosen.entropy_weight, chosen.entropy_schedule)
        )
        # Some topologies have no paths that run alone, and a single level has one pass for weights and alphas.
        self.samples_paths = chosen.sample_paths and self.net.trains_single_paths and "alphas" in self.streams
        self.searches_sizes = bool(size_parameters(self.net))
        self.reads_ahead: bool | None = None
        self._ahead: WeightsAhead | None = None
        self._batches: list[Batch] = []
        self._memory: dict[str, list[float]] = {}

    def _check_strategy(self) -> None:
        if isinstance(self.strategy, PathStrategy):
            raise ManticoreError(
                f"strategy '{strategy_name(self.strategy)}' trains each path by itself, and no network that holds them "
                "all; mc.search runs it"
            )
        self.strategy.check(self.net)
        if self.strategy.needs_alignment and not isinstance(self.net, Supernet):
            raise ManticoreError(
                f"strategy '{strategy_name(self.strategy)}' compares donors with an aligned base model, which a model "
                "of MixedOps does not have; use one that trains, such as darts"
            )

    def _apply_options(self) -> None:
        """Set the relaxation and the temperature of the network, if the strategy or the options name others."""
        relaxation = self.strategy.relaxation or self.options.relaxation
        if relaxation != SearchOptions.relaxation:
            self.net.relax = relaxations[relaxation]
        if self.options.temperature != SearchOptions.temperature:
            self.net.temperature = self.options.temperature

    def settle_steps(self) -> None:
        super().settle_steps()
        if self.given_steps is None:
            warmup = self._settings.get("warmup_steps", default_warmup(self.steps))
            self.options = replace(self.options, steps=self.steps, warmup_steps=warmup)

    @property
    def method(self) -> str:
        """The strategy; a checkpoint is continued by the same one only."""
        return f"strategy '{strategy_name(self.strategy)}'"

    @property
    def path(self) -> list[str]:
        """The candidate with the largest mixing weight at each stage."""
        return likeliest_path(self.net)

    @property
    def warming_up(self) -> bool:
        """Whether the alphas are still frozen."""
        return self.step_count < self.options.warmup_steps

    @property
    def progress(self) -> float:
        """Share of the search that is done after the warm-up; below 0 during the warm-up."""
        return (self.step_count - self.options.warmup_steps) / max(1, self.steps - self.options.warmup_steps)

    def configure_optimizers(self) -> Any:
        (weights,), (schedule,) = super().configure_optimizers()
        options = self.options.alphas
        alphas = self.strategy.alpha_optimizer(self.net.alphas, options)
        alpha_steps = self.steps - self.options.warmup_steps
        sizes = size_optimizer(self.net)
        optimizers = [weights, alphas] if sizes is None else [weights, alphas, sizes]
        return optimizers, [schedule, cosine(alphas, alpha_steps, options.min_lr_ratio)]

    def weight_step(self, batch: Batch, paths: Sequence[Sequence[str] | None] | None = None) -> Tensor:
        """One optimizer step on the weights, through the mixture, one sampled path, or `paths`. Returns the loss."""
        if paths is None:
            paths = [self._draw_path() if self.samples_paths else None]
        return self._weight_step(batch, paths)

    def _draw_path(self) -> list[str]:
        """A path drawn from the mixing weights; on a GPU from those before the step (see `deferred_reads`)."""
        path: list[str] = self.net.sample() if self._ahead is None else self.net.sample(self._ahead.read())
        return path

    def _copy_ahead(self) -> None:
        """Start the copy of the mixing weights that the next step draws its path from."""
        if self.samples_paths and (self.device.type != "cpu" if self.reads_ahead is None else self.reads_ahead):
            self._ahead = WeightsAhead(self.net.weights())

    def num_examples(self, batch: Batch) -> int:
        """Number of examples of the batch, in all processes."""
        return num_examples(batch)

    def example_step(self, batch: Batch, paths_BS: Tensor) -> Tensor:
        """One optimizer step on the weights, each example through its own path. Returns the loss."""
        own = own_examples(batch, paths_BS)
        setattr(own, ALL_PATHS, paths_BS)
        return self._weight_step({**batch, PATHS: own})

    def loss(self, batch: Batch, **options: object) -> Tensor:
        """See `TrainModule.loss`; if the batch has a path for each example, each runs its own path."""
        return super().loss(batch, **({PATHS: batch[PATHS]} if _has_paths(batch) else options))

    def _count(self, batch: Batch, passes: int, paths: Sequence[Sequence[str] | None] = (None,)) -> None:
        if not _has_paths(batch):
            super()._count(batch, passes, paths)
            return
        paths_BS = getattr(batch[PATHS], ALL_PATHS, batch[PATHS])
        names = [[self.net.candidates[index] for index in path] for path in paths_BS.tolist()]
        tokens = count_tokens(batch)
        self.tokens += tokens
        self.flops += passes * tokens * sum(map(self.flop_counter.forward, names)) / len(names)

    def alpha_step(self, batch: Batch) -> Tensor:
        """One optimizer step on the alphas; the weights get no gradient. Returns the loss."""
        loss = self._step(batch, [self._alpha_update, *self._size_update], self.penalty, passes=2)
        self.alpha_schedule.step()
        return loss

    def joint_step(self, batch: Batch) -> Tensor:
        """One step of both optimizers by the same gradient. Returns the loss."""
        loss = self._step(batch, [self._weight_update, self._alpha_update, *self._size_update], self.penalty)
        self.weight_schedule.step()
        self.alpha_schedule.step()
        return loss

    def policy_step(
        self, batch: Batch, paths: Sequence[Sequence[str]], advantages: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """One optimizer step on the alphas by a score-function gradient; see `Search.policy_step`."""
        losses_N = self.losses(batch, [{"path": path} for path in paths])
        log_p_N = torch.stack([self.net.log_probability(path) for path in paths])
        # The gradient of the surrogate is the mean of advantage * grad log p.
        surrogate = (advantages(losses_N).detach() * log_p_N).mean() + self.penalty()
        for alpha in self.net.alphas:
            alpha.grad = None
        with trainable_only(self.net, self.net.alphas):
            self.manual_backward(surrogate)
        loss = losses_N.mean()
        self._take_steps([self._alpha_update], loss)
        self.alpha_schedule.step()
        self._count(batch, 1, paths)
        return loss

    def update_alphas(self, batch: Batch, passes: int = 2) -> None:
        """One optimizer step on the alphas by the gradients in `net.alphas`; see `Search.update_alphas`."""
        self._check_equal_gradients(self.net.alphas)
        self._take_steps([self._alpha_update])
        self.alpha_schedule.step()
        self._count(batch, passes)

    def update_weights(self, batch: Batch, passes: int = 3) -> None:
        """One optimizer step on the weights by the gradients in them; see `Search.update_weights`."""
        self._check_equal_gradients(self.weights)
        self._take_steps([self._weight_update])
        self.weight_schedule.step()
        self._count(batch, passes)

    @property
    def _alpha_update(self) -> Update:
        return Update(self.alpha_optimizer, self.net.alphas, self.options.alphas.max_grad_norm)

    @property
    def _size_update(self) -> list[Update]:
        """The update of the sizes of adapters, if they are searched."""
        optimizers: Any = self.optimizers()
        return [size_update(self.net, optimizers[2])] if self.searches_sizes else []

    @property
    def alpha_schedule(self) -> LRScheduler:
        """The schedule of the alphas' learning rate."""
        schedules: list[LRScheduler] = self.lr_schedulers()  # type: ignore[assignment]
        return schedules[1]

    @property
    def alpha_optimizer(self) -> Optimizer:
        """The optimizer of the alphas."""
        optimizers: list[Optimizer] = self.optimizers()  # type: ignore[assignment]
        return optimizers[1]

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters that weight steps update."""
        return [parameter for _, parameter in self.named_weights]

    @property
    def weight_lr(self) -> float:
        """The learning rate of the next weight step."""
        return float(self.weight_schedule.get_last_lr()[0])

    @property
    def memory(self) -> dict[str, list[float]]:
        """Numbers that the strategy keeps between steps; see `Search.memory`."""
        return self._memory

    def path_cost(self, path: Sequence[str]) -> float:
        """Operations per token of a forward pass of one path; see `Search.path_cost`."""
        return self.flop_counter.forward(path)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._memory = {} if stage == "fit" else self._memory
        self._ahead = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["manticore"]["memory"] = self._memory

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._memory = checkpoint["manticore"].get("memory", {})

    def penalty(self) -> Tensor:
        """The regularizer of the mixing weights at this step, and the penalties of costs, in nats.

        The costs are the expected ones of the path and those of searched sizes of adapters.
        """
        weights_SK = self.net.weights()
        penalty = self.regularizer(weights_SK, self.progress)
        if self.cost is not None:
            penalty = penalty + self.cost(weights_SK)
        return penalty + size_penalty(self.net) if self.searches_sizes else penalty

    def training_step(self, batch: Any, batch_idx: int) -> None:
        batches = self.by_stream(batch)
        self.net.progress = max(0.0, self.progress)
        if self._ahead is None:
            self._copy_ahead()
        if isinstance(self.strategy, TrainingFree):
            self._collect(batches["alphas"], self.strategy)
        else:
            with drawing(self.draws):
                self.metrics = dict(self.strategy.step(self, batches))
            self._check_curvature(batches)
        self._copy_ahead()
        self.finish_step()

    def _check_curvature(self, batches: Mapping[str, Batch]) -> None:
        """At a few steps of a search with alphas, add the largest eigenvalue of their Hessian to the metrics."""
        warmup = self.options.warmup_steps
        due = is_check(self.step_count + 1 - warmup, self.steps - warmup)
        if not due or "alpha_loss" not in self.metrics or not self.strategy.descends:
            return
        batch, size = batches.get("alphas", batches["weights"]), self.loop.micro_batch_size
        if isinstance(batch, Mapping) and "labels" in batch:
            batch = first_examples(batch, min(SEQUENCES, size or SEQUENCES))

        def gradient() -> Sequence[Tensor | None]:
            with torch.autocast(self.device.type, enabled=False):
                return self.gradients(batch, self.net.alphas)[1]

        with eval_mode(self.net), trainable_only(self.net, self.net.alphas):
            self.metrics = {**self.metrics, "curvature": largest_eigenvalue(gradient, self.net.alphas)}
        self.count_passes(batch, 4 * ITERATIONS)  # two gradients of the alphas alone cost two passes each

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes of values that each computes; see `Search.total`."""
        return self.ranks.sum(values.detach().clone())

    def count_passes(self, batch: Batch, passes: int, tokens: bool = False) -> None:
        """Add forward passes over a batch; see `Search.count_passes`."""
        before = self.tokens
        self._count(batch, passes)
        self.tokens = self.tokens if tokens else before

    def _collect(self, batch: Batch, strategy: TrainingFree) -> None:
        """Keep the batch; the last one that the strategy reads ends the training."""
        self._batches.append(batch)
        self._count(batch, 1)
        if len(self._batches) == strategy.batches:
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        super().on_train_end()
        decide_sizes(self.net)
        if isinstance(self.strategy, TrainingFree) and self._batches:
            assign_alphas(self.net, self.strategy.alphas(self.net, self._batches).to(self.device))
            self._batches = []


def _has_paths(batch: Any) -> bool:
    """Whether a batch has a path for each example."""
    return isinstance(batch, Mapping) and PATHS in batch


def default_warmup(steps: int) -> int:
    """Warm-up steps of a search of `steps` steps: those of `SearchOptions`, but at most a quarter of the search."""
    return min(SearchOptions.warmup_steps, steps // 4)


def _search_options(options: SearchOptions | None, settings: Mapping[str, Any]) -> SearchOptions:
    """The options with `settings` over them. By default the warm-up is at most a quarter of the search.

    As long as the number of steps is not known, it is set above that of the warm-up; see `settle_steps`.
    """
    if options is None and isinstance(settings.get("steps"), int):
        settings = {"warmup_steps": default_warmup(settings["steps"]), **settings}
    elif options is None and isinstance(settings.get("warmup_steps"), int):
        settings = {**settings, "steps": max(SearchOptions.steps, settings["warmup_steps"] + 1)}
    return from_mapping(SearchOptions, settings, "option of a search", default=options)
