"""The two LightningModules: a model that is trained, and a supernet that is searched as a strategy says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manticore.errors import NonFiniteLoss
from manticore.modeling.branches import DonorBranch
from manticore.modeling.segments import Segment
from manticore.nas.cost import FlopCounter
from manticore.nas.regularizers import regularizers
from manticore.nas.strategies import Strategy
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import IGNORE
from manticore.training.batching import Batch, micro_batches
from manticore.training.optimizers import cosine, weight_optimizer
from manticore.training.options import SearchOptions, WeightOptions
from manticore.training.scoring import logits_of
from manticore.utils.module_state import trainable_only


@dataclass(frozen=True)
class LoopOptions:
    """How a training step is run. Up to rounding, the trained weights do not depend on it.

    Attributes:
        micro_batch_size: sequences that go through the net at once; 0 means the whole batch.
        gradient_checkpointing: keep only the inputs of segments and compute the rest again for the gradients.
        log_every: steps between two records of the loggers.
        length: mean tokens of a sequence, at which operations are counted.
        seen_tokens: tokens that were read before the first step.
    """

    micro_batch_size: int = 0
    gradient_checkpointing: bool = False
    log_every: int = 10
    length: int = 1
    seen_tokens: int = 0


@dataclass(frozen=True)
class Update:
    """One optimizer and the parameters that its step changes.

    Attributes:
        optimizer: the optimizer.
        parameters: its parameters.
        max_grad_norm: larger gradients are scaled down to this norm.
    """

    optimizer: Optimizer
    parameters: list[nn.Parameter]
    max_grad_norm: float


class TrainModule(lightning.LightningModule):
    """Trains the weights of `net` on the stream of batches called `weights`.

    Args:
        net: a supernet, a hybrid or another model that returns logits.
        weights: options of the weights' optimizer.
        steps: length of the schedule, in optimizer steps.
        loop: how a step is run.

    Attributes:
        step_count: optimizer steps so far.
        tokens: number of tokens so far, those before the first step included.
        flops: operations so far, forward and backward.
        last_metrics: losses of the last step, in nats, by name.
    """

    def __init__(self, net: nn.Module, weights: WeightOptions, steps: int, loop: LoopOptions | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = net
        self.weight_options = weights
        self.steps = steps
        self.loop = loop or LoopOptions()
        self.flop_counter = FlopCounter(net, self.loop.length)
        self.step_count = 0
        self.tokens = self.loop.seen_tokens
        self.flops = 0.0
        self.last_metrics: dict[str, float] = {}
        for part in net.modules():
            if isinstance(part, Segment):
                part.gradient_checkpointing = self.loop.gradient_checkpointing

    @property
    def named_weights(self) -> list[tuple[str, nn.Parameter]]:
        """Every parameter that is trained, but the alphas."""
        return [(name, p) for name, p in self.net.named_parameters() if name != "alpha" and p.requires_grad]

    def configure_optimizers(self) -> Any:
        options = self.weight_options
        weights = weight_optimizer(self.named_weights, options, donor_parameter_names(self.net))
        return [weights], [cosine(weights, self.steps, options.min_lr_ratio, options.warmup_steps)]

    def loss(self, batch: Batch, **options: object) -> Tensor:
        """Mean cross-entropy in nats over the scored labels. `options` go to the net, such as `path` to a supernet.

        Raises NonFiniteLoss if it is not a number.
        """
        logits = logits_of(self.net, batch, **options).float()
        loss = F.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten(), ignore_index=IGNORE)
        self.check_finite("loss", loss)
        return loss

    def check_finite(self, what: str, value: Tensor) -> None:
        """Raises NonFiniteLoss if `value` is not a number, before it reaches a parameter."""
        if not math.isfinite(value.item()):
            raise NonFiniteLoss(
                f"the {what} became {value.item()} at step {self.step_count + 1}; the last saved state is kept; "
                "try a lower learning rate (--lr, --set search.weights.lr=...) or float32"
            )

    def weight_step(self, batch: Batch) -> float:
        """One optimizer step on the weights; the alphas get no gradient. Returns the loss."""
        loss = self._step(batch, [self._weight_update])
        self.weight_schedule.step()
        return loss

    def _step(
        self,
        batch: Batch,
        updates: Sequence[Update],
        penalty: Callable[[], Tensor] | None = None,
        passes: int = 3,
        path: Sequence[str] | None = None,
    ) -> float:
        """One step of each optimizer by the gradient of the loss on `batch` and of the penalty.

        Only the updated parameters get gradients. The step costs `passes` times a forward pass: with gradients for
        inputs and weights 3. Returns the loss without the penalty.
        """
        for update in updates:
            update.optimizer.zero_grad(set_to_none=True)
        options = {} if path is None else {"path": path}
        total = 0.0
        with trainable_only(self.net, [parameter for update in updates for parameter in update.parameters]):
            for part, share in micro_batches(batch, self.loop.micro_batch_size):
                loss = self.loss(part, **options) * share
                self.manual_backward(loss)
                total += loss.item()
            if penalty is not None:
                self.manual_backward(penalty())
        self._take_steps(updates)
        self._count(batch, passes, path)
        return total

    def _take_steps(self, updates: Sequence[Update]) -> None:
        """Clip all gradients, then take all steps."""
        for update in updates:
            norm = torch.nn.utils.clip_grad_norm_(update.parameters, update.max_grad_norm)
            self.check_finite("gradient", norm)
        for update in updates:
            update.optimizer.step()

    def _count(self, batch: Batch, passes: int, path: Sequence[str] | None = None) -> None:
        tokens = int(batch["attention_mask"].sum())
        self.tokens += tokens
        self.flops += passes * tokens * self.flop_counter.forward(path)

    @property
    def _weight_update(self) -> Update:
        parameters = [parameter for _, parameter in self.named_weights]
        return Update(self.weight_optimizer, parameters, self.weight_options.max_grad_norm)

    @property
    def weight_optimizer(self) -> Optimizer:
        """The optimizer of the weights."""
        optimizers: Any = self.optimizers()
        optimizer: Optimizer = optimizers[0] if isinstance(optimizers, list) else optimizers
        return optimizer

    @property
    def weight_schedule(self) -> LRScheduler:
        """The schedule of the weights' learning rate."""
        schedules: Any = self.lr_schedulers()
        schedule: LRScheduler = schedules[0] if isinstance(schedules, list) else schedules
        return schedule

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        self.last_metrics = {"loss": self.weight_step(batch["weights"])}
        self.finish_step()

    def finish_step(self) -> None:
        """Count the step and, every `log_every` steps, pass its numbers to the loggers."""
        self.step_count += 1
        if self.step_count % self.loop.log_every == 0:  # `log_dict` would work at every step
            rate = self.weight_schedule.get_last_lr()[0]
            numbers = {**self.last_metrics, "step": self.step_count, "tokens": self.tokens, "lr": float(rate)}
            for logger in self.loggers:
                logger.log_metrics(numbers, self.step_count)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["manticore"] = {
            "step_count": self.step_count,
            "tokens": self.tokens,
            "flops": self.flops,
            "rng": _rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["manticore"]
        self.step_count, self.tokens, self.flops = (state[key] for key in ("step_count", "tokens", "flops"))
        self._rng = state["rng"]

    def on_train_start(self) -> None:
        if hasattr(self, "_rng"):
            _set_rng_state(self._rng)


class SearchModule(TrainModule):
    """Trains the weights and the alphas of a supernet as a strategy says.

    Args:
        net: the supernet.
        strategy: executes one step on the batches of its streams.
        options: section `search` of a recipe.
        loop: how a step is run.
    """

    net: Supernet

    def __init__(
        self, net: Supernet, strategy: Strategy, options: SearchOptions, loop: LoopOptions | None = None
    ) -> None:
        super().__init__(net, options.weights, options.steps, loop)
        self.strategy = strategy
        self.options = options
        self.regularizer = strategy.regularizer(
            regularizers[options.regularizer](options.entropy_weight, options.entropy_schedule)
        )
        # Some topologies have no paths that run alone, and a single level has one pass for weights and alphas.
        runs_alone = net.space.supports("sample_paths") and "alphas" in strategy.streams
        self.samples_paths = options.sample_paths and runs_alone

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
        alphas = self.strategy.alpha_optimizer(self.net.alpha, options)
        alpha_steps = self.steps - self.options.warmup_steps
        return [weights, alphas], [schedule, cosine(alphas, alpha_steps, options.min_lr_ratio)]

    def weight_step(self, batch: Batch) -> float:
        """One optimizer step on the weights, through the mixture or through one sampled path. Returns the loss."""
        path = self.net.sample() if self.samples_paths else None
        loss = self._step(batch, [self._weight_update], path=path)
        self.weight_schedule.step()
        return loss

    def alpha_step(self, batch: Batch) -> float:
        """One optimizer step on the alphas; the weights get no gradient. Returns the loss."""
        loss = self._step(batch, [self._alpha_update], self.penalty, passes=2)
        self.alpha_schedule.step()
        return loss

    def joint_step(self, batch: Batch) -> float:
        """One step of both optimizers by the same gradient. Returns the loss."""
        loss = self._step(batch, [self._weight_update, self._alpha_update], self.penalty)
        self.weight_schedule.step()
        self.alpha_schedule.step()
        return loss

    def policy_step(
        self, batch: Batch, paths: Sequence[Sequence[str]], advantages: Callable[[Tensor], Tensor]
    ) -> float:
        """One optimizer step on the alphas by a score-function gradient; see `Search.policy_step`."""
        with torch.no_grad():
            losses_N = torch.stack([self.loss(batch, path=path) for path in paths])
        log_weights_SK = self.net.weights().clamp_min(1e-30).log()
        log_p_N = torch.stack([(log_weights_SK * self.net.one_hot(path)).sum() for path in paths])
        # The gradient of the surrogate is the mean of advantage * grad log p.
        surrogate = (advantages(losses_N).detach() * log_p_N).mean()
        self.net.alpha.grad = None
        with trainable_only(self.net, [self.net.alpha]):
            self.manual_backward(surrogate + self.penalty())
        self._take_steps([self._alpha_update])
        self.alpha_schedule.step()
        for path in paths:
            self._count(batch, 1, path)
        return float(losses_N.mean())

    def update_alphas(self, batch: Batch, passes: int = 2) -> None:
        """One optimizer step on the alphas by the gradient in `net.alpha.grad`; see `Search.update_alphas`."""
        self._take_steps([self._alpha_update])
        self.alpha_schedule.step()
        self._count(batch, passes)

    @property
    def _alpha_update(self) -> Update:
        return Update(self.alpha_optimizer, [self.net.alpha], self.options.alphas.max_grad_norm)

    @property
    def alpha_schedule(self) -> LRScheduler:
        """The schedule of the alphas' learning rate."""
        schedules: Any = self.lr_schedulers()
        schedule: LRScheduler = schedules[1]
        return schedule

    @property
    def alpha_optimizer(self) -> Optimizer:
        """The optimizer of the alphas."""
        optimizers: Any = self.optimizers()
        optimizer: Optimizer = optimizers[1]
        return optimizer

    def penalty(self) -> Tensor:
        """The regularizer of the mixing weights at this step, in nats."""
        return self.regularizer(self.net.weights(), self.progress)

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        self.net.progress = max(0.0, self.progress)
        self.last_metrics = self.strategy.step(self, batch)
        self.finish_step()


def donor_parameter_names(net: nn.Module) -> set[str]:
    """Names of the parameters of donors' layers, without projectors."""
    segments = [f"{name}.segment." for name, part in net.named_modules() if isinstance(part, DonorBranch)]
    return {name for name, _ in net.named_parameters() if name.startswith(tuple(segments))}


def _rng_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([cuda_state.cpu() for cuda_state in state["cuda"]])
