"""The two LightningModules: a model that is trained, and a supernet that is searched as a strategy says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manticore.errors import NonFiniteLoss
from manticore.modeling.branches import DonorBranch
from manticore.nas.cost import FlopCounter
from manticore.nas.regularizers import entropy, entropy_schedule
from manticore.nas.strategies import Strategy
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import IGNORE
from manticore.training.batching import Batch, micro_batches
from manticore.training.optimizers import alpha_optimizer, cosine, weight_optimizer
from manticore.training.options import AlphaOptions, WeightOptions
from manticore.training.scoring import logits_of
from manticore.utils.module_state import trainable_only


class TrainModule(lightning.LightningModule):
    """Trains `net`'s weights on the stream called `weights`.

    Args:
        net: a supernet or a Hugging Face classifier.
        options: of the weight optimizer.
        steps: length of the schedule, in optimizer steps.

    `micro_batch_size` sequences go through the net at once; 0, the default, means the whole batch. `tokens` counts
    those that were learnt from and `flops` the operations that took, as `meter` has them.
    """

    def __init__(self, net: nn.Module, options: WeightOptions, steps: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = net
        self.options = options
        self.steps = steps
        self.micro_batch_size = 0
        self.log_every = 10
        self.done = 0
        self.tokens = 0
        self.flops = 0.0
        self.meter = FlopCounter(net, 1)
        self.latest: dict[str, float] = {}

    @property
    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything that trains but the alphas."""
        return [p for name, p in self.net.named_parameters() if name != "alpha" and p.requires_grad]

    def configure_optimizers(self) -> Any:
        named = [(name, p) for name, p in self.net.named_parameters() if name != "alpha" and p.requires_grad]
        weights = weight_optimizer(named, self.options, donor_parameter_names(self.net))
        return [weights], [cosine(weights, self.steps, self.options.min_lr_ratio, self.options.warmup_steps)]

    def loss(self, batch: Batch, **options: object) -> Tensor:
        """Mean cross-entropy in nats over the labels that are scored. Raises NonFiniteLoss if it is not a number."""
        logits = logits_of(self.net, batch, **options).float()
        loss = F.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten(), ignore_index=IGNORE)
        self.check_finite("loss", loss)
        return loss

    def check_finite(self, what: str, value: Tensor) -> None:
        """Raises NonFiniteLoss if `value` is not a number, before it can spoil anything."""
        if not math.isfinite(value.item()):
            raise NonFiniteLoss(
                f"the {what} became {value.item()} at step {self.done + 1}; the last saved state is kept; "
                "a new run may hold with a lower learning rate (--lr, --set search.weights.lr=...) or in float32"
            )

    def weight_step(self, batch: Batch) -> float:
        """One optimizer step on the weights; the alphas get no gradient. Returns the loss."""
        loss = self.move(batch, [(self.weight_optimizer, self.weight_parameters, self.options.max_grad_norm)])
        self.weight_schedule.step()
        return loss

    def move(
        self,
        batch: Batch,
        movers: list[tuple[Optimizer, list[nn.Parameter], float]],
        penalty: Callable[[], Tensor] | None = None,
        passes: int = 3,
        path: list[str] | None = None,
    ) -> float:
        """One step of each (optimizer, its parameters, largest gradient norm) by the loss on `batch` and the penalty.

        Only the parameters that are to move get gradients, and nothing is kept for the others' sake. The step costs
        `passes` times a forward pass: with gradients for inputs and weights 3. Returns the loss without the penalty.
        """
        for optimizer, _, _ in movers:
            optimizer.zero_grad(set_to_none=True)
        moving = [parameter for _, parameters, _ in movers for parameter in parameters]
        options = {} if path is None else {"path": path}
        total = 0.0
        with trainable_only(self.net, moving):
            for part, share in micro_batches(batch, self.micro_batch_size):
                loss = self.loss(part, **options) * share
                self.manual_backward(loss)
                total += loss.item()
            if penalty is not None:
                self.manual_backward(penalty())
        for _, parameters, clip in movers:
            self.check_finite("gradient", torch.nn.utils.clip_grad_norm_(parameters, clip))
        for optimizer, _, _ in movers:
            optimizer.step()
        tokens = int(batch["attention_mask"].sum())
        self.tokens += tokens
        self.flops += passes * tokens * self.meter.forward(path)
        return total

    @property
    def weight_optimizer(self) -> Optimizer:
        """The optimizer of the weights."""
        held: Any = self.optimizers()
        optimizer: Optimizer = held[0] if isinstance(held, list) else held
        return optimizer

    @property
    def weight_schedule(self) -> LRScheduler:
        """The schedule of the weights' learning rate."""
        held: Any = self.lr_schedulers()
        schedule: LRScheduler = held[0] if isinstance(held, list) else held
        return schedule

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        self.latest = {"loss": self.weight_step(batch["weights"])}
        self.finish_step()

    def finish_step(self) -> None:
        """Count the step and, now and then, hand its numbers to the loggers."""
        self.done += 1
        if self.done % self.log_every == 0:  # `log_dict` would work at every step
            rate = self.weight_schedule.get_last_lr()[0]
            numbers = {**self.latest, "step": self.done, "tokens": self.tokens, "lr": float(rate)}
            for logger in self.loggers:
                logger.log_metrics(numbers, self.done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["manticore"] = {
            "done": self.done,
            "tokens": self.tokens,
            "flops": self.flops,
            "rng": _rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        held = checkpoint["manticore"]
        self.done, self.tokens, self.flops, self._rng = (held[key] for key in ("done", "tokens", "flops", "rng"))

    def on_train_start(self) -> None:
        if hasattr(self, "_rng"):
            _set_rng_state(self._rng)


class SearchModule(TrainModule):
    """Trains a supernet's weights and alphas as a strategy says.

    Args:
        net: the supernet.
        strategy: what one step does, given the streams it asked for.
        options, alpha_options: of the two optimizers.
        steps: weight steps, warm-up included.
        warmup_steps: first steps, in which the alphas stay where they are.
        entropy: weight of the mixture's entropy in the alphas' loss at the last step; it rises linearly from 0.
        decide: `uniform` or `stagewise`; see `entropy_schedule`.
        sampled: weight steps run one path drawn from the mixing weights, not the mixture.
    """

    net: Supernet

    def __init__(
        self,
        net: Supernet,
        strategy: Strategy,
        options: WeightOptions,
        alpha_options: AlphaOptions,
        steps: int,
        warmup_steps: int,
        entropy: float = 0.0,
        sampled: bool = False,
        decide: str = "uniform",
    ) -> None:
        super().__init__(net, options, steps)
        self.strategy = strategy
        self.alpha_options = alpha_options
        self.warmup_steps = warmup_steps
        self.entropy = entropy
        self.sampled = sampled
        self.decide = decide

    @property
    def warming_up(self) -> bool:
        """Whether the alphas are still frozen."""
        return self.done < self.warmup_steps

    def configure_optimizers(self) -> Any:
        (weights,), (schedule,) = super().configure_optimizers()
        alphas = alpha_optimizer(self.net.alpha, self.alpha_options)
        return [weights, alphas], [
            schedule,
            cosine(alphas, self.steps - self.warmup_steps, self.alpha_options.min_lr_ratio),
        ]

    def weight_step(self, batch: Batch) -> float:
        """One optimizer step on the weights, through the mixture or through one sampled path. Returns the loss."""
        if not self.sampled:
            return super().weight_step(batch)
        weights = (self.weight_optimizer, self.weight_parameters, self.options.max_grad_norm)
        loss = self.move(batch, [weights], path=self.net.sample())
        self.weight_schedule.step()
        return loss

    def alpha_step(self, batch: Batch) -> float:
        """One optimizer step on the alphas; the weights get no gradient. Returns the loss."""
        alphas = (self.alpha_optimizer, [self.net.alpha], self.alpha_options.max_grad_norm)
        loss = self.move(batch, [alphas], self.entropy_penalty, passes=2)
        self.alpha_schedule.step()
        return loss

    def joint_step(self, batch: Batch) -> float:
        """One step of both optimizers by the same gradient. Returns the loss."""
        weights = (self.weight_optimizer, self.weight_parameters, self.options.max_grad_norm)
        alphas = (self.alpha_optimizer, [self.net.alpha], self.alpha_options.max_grad_norm)
        loss = self.move(batch, [weights, alphas], self.entropy_penalty)
        self.weight_schedule.step()
        self.alpha_schedule.step()
        return loss

    @property
    def alpha_schedule(self) -> LRScheduler:
        """The schedule of the alphas' learning rate."""
        held: Any = self.lr_schedulers()
        schedule: LRScheduler = held[1]
        return schedule

    @property
    def alpha_optimizer(self) -> Optimizer:
        """The optimizer of the alphas."""
        held: Any = self.optimizers()
        optimizer: Optimizer = held[1]
        return optimizer

    def entropy_penalty(self) -> Tensor:
        """What the alphas pay for being undecided at this step."""
        progress = (self.done - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        each_S = entropy(self.net.weights())
        return self.entropy * (each_S * each_S.new_tensor(entropy_schedule(len(each_S), progress, self.decide))).sum()

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        self.latest = self.strategy.step(self, batch)
        self.finish_step()


def donor_parameter_names(net: nn.Module) -> set[str]:
    """Names of the parameters that belong to a donor component's layers, projectors not among them."""
    parts = [f"{name}.segment" for name, part in net.named_modules() if isinstance(part, DonorBranch)]
    return {name for name, _ in net.named_parameters() if name.startswith(tuple(f"{part}." for part in parts))}


def _rng_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([held.cpu() for held in state["cuda"]])
