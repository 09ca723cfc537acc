"""The LightningModule that trains the weights of a model; the search derives from it (`search_module`).

It uses manual optimization, because a search takes steps of two optimizers, each with its own gradients.
`trainer_flags` lists the consequences for the flags of a Trainer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from manticore.adapters.base import adapted_layers
from manticore.adapters.gradient_check import GradientCheck
from manticore.adapters.searched import size_parameters
from manticore.errors import ManticoreError, shown
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Segment
from manticore.nas.cost import FlopCounter
from manticore.nas.searchable import alphas, named_weights
from manticore.nas.strategies.base import Losses
from manticore.tasks.dataset import Batch
from manticore.training.batch_notes import copy_notes, is_on_cpu, note, scored_labels
from manticore.training.deferred_reads import non_finite, read_numbers
from manticore.training.depth import depth_scales, freeze_first_layers
from manticore.training.gradient_steps import GradientSteps, Update
from manticore.training.loader_checks import check_disjoint_loaders
from manticore.training.losses import LossFunction, check_loss_function
from manticore.training.optimizers import cosine, donor_parameter_names, weight_optimizer
from manticore.training.options import LoopOptions, WeightOptions
from manticore.training.trainer_flags import check_trainer, count_steps
from manticore.utils.fields import PositiveInt, convert
from manticore.utils.module_state import check_same_model
from manticore.utils.rng import (
    generator_states,
    new_generators,
    rng_state,
    seed_rank,
    set_generator_states,
    set_rng_state,
)


class TrainModule(GradientSteps):
    """Trains the weights of `net` on the stream of batches called `weights`.

    Args:
        net: a supernet, a hybrid or another model that returns logits.
        weights: options of the weights' optimizer, or a mapping of those that differ from the defaults.
        steps: length of the schedule, in optimizer steps, and of the training. Default: as long as the Trainer trains,
            by its `max_steps`, or by `max_epochs` and the length of the data.
        loop: how a step is run, or a mapping of `LoopOptions`.
        loss: a function from the model and a batch to a scalar. Default: cross-entropy of the logits and
            `batch["labels"]` (see `loss`).
        phase: name of this training, for callbacks and loggers. Default: that of the class.

    Attributes:
        phase: name of this training: `search`, `fine-tune`, `alone gpt-neo`, ...
        until: the step to stop at, if the training ends before its schedule; None: the last step of the schedule.
        is_ending: a process of several that train together got SIGTERM, so that all end after this step.
        step_count: optimizer steps so far; a Trainer's `global_step` is the same.
        draws: generators of paths and random mixing weights, by type of device (`manticore.utils.rng`).
        tokens: number of tokens so far, those before the first step included.
        flops: operations so far, forward and backward.
        metrics: losses of the last step, in nats, by name; those on a device are scalars that were not read yet.
        has_user_callbacks: whether each step logs its losses, for callbacks that read them.

    A step reads no value of the device (`deferred_reads`, `batch_notes`).

    Raises UnknownName for an option that does not exist, and ManticoreError for one out of range.
    """

    streams: Mapping[str, tuple[str, ...]] = {"weights": ("train", "train_arch")}
    """The streams of batches that a step reads, each with the splits of a task that it draws from."""

    batch_size: int = 64
    """Default number of sequences in a batch of `SearchData`."""

    has_alphas: ClassVar[bool] = False
    """Whether the module trains alphas."""

    default_phase: ClassVar[str] = "train"
    """Default name of the phase."""

    def __init__(
        self,
        net: nn.Module,
        weights: WeightOptions | Mapping[str, Any] | None = None,
        steps: int | None = None,
        loop: LoopOptions | Mapping[str, Any] | None = None,
        *,
        loss: LossFunction | None = None,
        phase: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            raise ManticoreError(f"a torch module is trained, not {shown(net)}")
        self.automatic_optimization = False
        self.weight_options: WeightOptions = convert({} if weights is None else weights, WeightOptions, "weights")
        self.loop: LoopOptions = convert({} if loop is None else loop, LoopOptions, "loop")
        self.given_steps: int | None = convert(steps, PositiveInt | None, "steps")
        self.steps = steps or 0
        self.until: int | None = None
        self.is_ending = False
        self.has_user_callbacks = True
        check_loss_function(loss)
        self.own_loss = loss
        self.phase = phase or self.default_phase
        self.flop_counter = FlopCounter(net, self.loop.length)
        freeze_first_layers(net, self.weight_options.freeze_depth)
        self.use_net(net)
        self.step_count = 0
        self.tokens = self.loop.seen_tokens
        self.flops = 0.0
        self.metrics: Losses = {}
        self._reset_rng()
        for part in net.modules():
            if isinstance(part, Segment | OpBranch):
                part.gradient_checkpointing = self.loop.gradient_checkpointing

    def use_net(self, net: nn.Module) -> None:
        """Train another copy of the net."""
        self.net = net
        self.gradient_check = GradientCheck(net)
        self.adapters = [layer.adapter for layer in adapted_layers(net)]
        self._known = None
        self._not_weights: set[int] | None = None

    def configure_callbacks(self) -> list[lightning.Callback]:
        """Check the flags of the Trainer: this is the first hook that Lightning calls. Returns no callbacks."""
        check_trainer(self.trainer, self.has_alphas)
        return []

    def settle_steps(self) -> None:
        """Take the number of steps from the Trainer if it was not given.

        Raises ManticoreError if the Trainer has no number of steps either, or a larger one.
        """
        if self.given_steps is not None:
            if self.trainer.max_steps > self.given_steps:
                raise ManticoreError(
                    f"Trainer(max_steps={self.trainer.max_steps}) is more than the {self.given_steps} steps of the "
                    f"module's schedule; pass steps={self.trainer.max_steps} to the module, or leave max_steps out"
                )
            return
        steps: float = self.trainer.max_steps
        if steps < 1:
            steps = self.trainer.estimated_stepping_batches
        if not 1 <= steps < math.inf:
            raise ManticoreError("how many steps? Pass steps=... to the module, or max_steps=... to the Trainer")
        self.steps = int(steps)

    @property
    def method(self) -> str:
        """How the training updates the parameters; a checkpoint is continued by the same method only."""
        return "weight steps alone"

    @property
    def named_weights(self) -> list[tuple[str, nn.Parameter]]:
        """Every parameter that is trained, but the alphas."""
        return named_weights(self.net)

    def configure_optimizers(self) -> Any:
        if self._trainer is not None:
            self.settle_steps()
        options = self.weight_options
        scales = None if options.depth_lr_decay == 1 else depth_scales(self.net, options.depth_lr_decay)
        weights = weight_optimizer(self.named_weights, options, donor_parameter_names(self.net), scales)
        return [weights], [cosine(weights, self.steps, options.min_lr_ratio, options.warmup_steps)]

    def check_finite(self) -> None:
        """Raises NonFiniteLoss if a loss or a gradient since the last check is not a number (see `deferred_reads`)."""
        self._finite.check()

    @property
    def last_metrics(self) -> dict[str, float]:
        """Losses of the last step, in nats, by name. The first use after a step reads them from the device."""
        values = read_numbers(self.metrics)
        self.metrics = values
        return values

    @property
    def is_log_step(self) -> bool:
        """Whether the numbers of the last step are read: every `log_every` steps, and where the training stops."""
        trainer: Any = self.trainer
        every = self.loop.log_every or max(1, trainer.log_every_n_steps)
        return self.step_count % every == 0 or self.step_count >= (self.until or self.steps)

    def weight_step(self, batch: Batch) -> Tensor:
        """One optimizer step on the weights; the alphas get no gradient. Returns the loss, a scalar on the device."""
        return self._weight_step(batch)

    def _weight_step(self, batch: Batch, paths: Sequence[Sequence[str] | None] = (None,)) -> Tensor:
        loss = self._step(batch, [self._weight_update], paths=paths)
        self.weight_schedule.step()
        return loss

    @property
    def _weight_update(self) -> Update:
        return Update(self.weight_optimizer, self._trained_weights(), self.weight_options.max_grad_norm)

    def _trained_weights(self) -> list[nn.Parameter]:
        """The parameters of `named_weights`."""
        if self._not_weights is None or self.adapters:
            self._not_weights = {id(parameter) for parameter in (*alphas(self.net), *size_parameters(self.net))}
        return [p for p in self._parameters_of_net() if p.requires_grad and id(p) not in self._not_weights]

    @property
    def weight_schedule(self) -> LRScheduler:
        """The schedule of the weights' learning rate."""
        schedules: Any = self.lr_schedulers()
        schedule: LRScheduler = schedules[0] if isinstance(schedules, list) else schedules
        return schedule

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics = {"loss": self.weight_step(self.by_stream(batch)["weights"])}
        self.finish_step()

    def by_stream(self, batch: Any) -> dict[str, Batch]:
        """The batch of each stream. A batch without names is that of the only stream.

        Raises ManticoreError if a stream is missing.
        """
        if isinstance(batch, Mapping) and set(self.streams) <= set(batch):
            return dict(batch)
        if len(self.streams) > 1:
            names = ", ".join(f"'{name}': loader" for name in self.streams)
            raise ManticoreError(
                f"the strategy reads {len(self.streams)} streams of batches that share no example: "
                f"Trainer.fit(module, {{{names}}}), or a mc.SearchData"
            )
        return dict.fromkeys(self.streams, batch)

    def finish_step(self) -> None:
        """Count the step and, every `log_every` steps, pass its numbers to the loggers."""
        self.step_count += 1
        for adapter in self.adapters:
            if adapter.refresh(self.step_count / self.steps):
                for parameter in adapter.parameters():
                    self.weight_optimizer.state.pop(parameter, None)
        count_steps(self.trainer, self.step_count)
        shown = self.trainer.progress_bar_callback is not None  # for a progress bar Lightning reads the losses
        if self.has_user_callbacks or shown:
            self.log_dict(self.metrics, prog_bar=shown, logger=False, batch_size=1)
        if self.is_log_step:
            self.check_finite()
        trainer: Any = self.trainer
        if self.step_count % (self.loop.log_every or max(1, trainer.log_every_n_steps)) == 0:
            rate = self.weight_schedule.get_last_lr()[0]
            numbers = {**self.last_metrics, "step": self.step_count, "tokens": self.tokens, "lr": float(rate)}
            for logger in self.loggers:
                logger.log_metrics(numbers, self.step_count)
        if self.step_count >= (self.until or self.steps):
            self.trainer.should_stop = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs `val_loss`, the mean over the scored labels of the split."""
        self._evaluation_step(batch, "val_loss")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs `test_loss`, the mean over the scored labels of the split."""
        self._evaluation_step(batch, "test_loss")

    def _evaluation_step(self, batch: Any, name: str) -> None:
        scored = scored_labels(batch["labels"]) if isinstance(batch, Mapping) and "labels" in batch else 1
        loss = self.loss(batch)
        if not math.isfinite(value := loss.item()):
            raise non_finite(name, value, self.step_count)
        self.log(name, loss, batch_size=scored, prog_bar=True)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch, with its notes: what depends on the batch alone is computed before it is on the device."""
        note(batch)
        if device.type == "cpu" and is_on_cpu(batch):
            return batch  # Lightning's walk through the batch takes longer
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        copy_notes(batch, moved)
        return moved

    def setup(self, stage: str) -> None:
        """Start at step 0, also if the module was trained before; a checkpoint is loaded after this hook."""
        if stage == "fit":
            self.step_count, self.tokens, self.flops = 0, self.loop.seen_tokens, 0.0
            self._reset_rng()
            self._finite.reset()

    def _reset_rng(self) -> None:
        """Forget the random states of a checkpoint."""
        self._rng: dict[str, Any] | None = None
        self._rng_is_first = True
        self.draws: dict[str, torch.Generator] = {}
        self._draw_states: dict[str, Tensor] = {}
        self._other_rng: list[dict[str, Any]] = []

    def on_fit_start(self) -> None:
        """Put the net into training mode; a hybrid that was loaded is in evaluation mode."""
        self.net.train()
        self.gradient_check.start()

    def teardown(self, stage: str) -> None:
        """Stop watching the gradients of adapters."""
        self.gradient_check.stop()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_finite()
        checkpoint["manticore"] = {
            "method": self.method,
            "step_count": self.step_count,
            "tokens": self.tokens,
            "flops": self.flops,
            "rng": rng_state(self.device),
            "draws": generator_states(self.draws),
            "other_ranks": self._other_rng,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "manticore" not in checkpoint:
            raise ManticoreError("the checkpoint is of another module, neither a SearchModule nor a FinetuneModule")
        state = checkpoint["manticore"]
        if state.get("method", self.method) != self.method:
            raise ManticoreError(
                f"the checkpoint is of a training with {state['method']}, which a training with {self.method} cannot "
                "continue"
            )
        check_same_model(checkpoint["state_dict"], self.state_dict())
        self.step_count, self.tokens, self.flops = (state[key] for key in ("step_count", "tokens", "flops"))
        saved_ranks, self._draw_states = state.get("other_ranks", []), state.get("draws", {})
        known = 0 < self.ranks.rank <= len(saved_ranks)
        self._rng, self._rng_is_first = saved_ranks[self.ranks.rank - 1] if known else state["rng"], not known

    def on_train_start(self) -> None:
        check_disjoint_loaders(self.trainer.train_dataloader)
        if self._rng is not None:
            set_rng_state(self._rng, self.device)
        self.draws = new_generators(self.device)
        set_generator_states(self.draws, self._draw_states)
        if self._rng_is_first:
            seed_rank(self.ranks.rank)

    def gather_rng(self) -> None:
        """Exchange the random states of all processes, of which a checkpoint has each; call it in all of them."""
        _, *self._other_rng = self.ranks.gather(rng_state(self.device))

    def on_train_end(self) -> None:
        self.check_finite()


class FinetuneModule(TrainModule):
    """Trains a discrete hybrid, or any other model: one that returns logits, or one with `loss=`.

        trainer.fit(mc.FinetuneModule(hybrid, weights={"lr": 1e-3}, steps=400), mc.SearchData(task))

    The arguments are those of `TrainModule`; the phase is called `fine-tune`.
    """

    default_phase = "fine-tune"
