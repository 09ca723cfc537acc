"""Flags and counters of a Lightning Trainer under manual optimization, and flags that a recipe sets.

A search takes steps of two optimizers, each with its own gradients, so its optimization is manual. A flag that this
rules out is an error that names the option with the same effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import lightning
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn

from manticore.errors import ManticoreError, UnknownName, shown

ACCUMULATE = (
    "run.micro_batch_size (loop={'micro_batch_size': ...} of a module): a batch goes through the model in parts, and "
    "their gradients add up to those of the batch"
)
CLIP = (
    "search.weights.max_grad_norm, search.alphas.max_grad_norm and finetune.weights.max_grad_norm (weights={"
    "'max_grad_norm': ...} and alphas={...} of a module): weights and alphas are clipped separately"
)
STEPS = "search.steps and finetune.steps"

ALLOWED = (
    *("benchmark", "default_root_dir", "detect_anomaly", "deterministic", "enable_autolog_hparams"),
    *("enable_model_summary", "enable_progress_bar", "inference_mode", "plugins", "profiler"),
)
"""Flags that a user may set for all phases of a run."""

INSTEAD = {
    "accelerator": "run.device",
    "accumulate_grad_batches": ACCUMULATE,
    "callbacks": "callbacks=",
    "enable_checkpointing": "run.checkpoint_every",
    "gradient_clip_algorithm": CLIP,
    "gradient_clip_val": CLIP,
    "log_every_n_steps": "run.log_every",
    "logger": "logger=",
    "precision": "run.precision",
    **dict.fromkeys(("max_steps", "max_epochs", "min_steps", "min_epochs", "max_time", "fast_dev_run"), STEPS),
    **dict.fromkeys(("limit_train_batches", "overfit_batches"), "task.train and search.steps"),
}
"""The option of a recipe, or the argument, that does what a flag would do."""


def check_flags(flags: Mapping[str, Any]) -> None:
    """Check flags that a user passes to the Trainer of every phase.

    Raises UnknownName for a flag that no Trainer has, and ManticoreError for one that a recipe sets; the message names
    the option to use.
    """
    if not isinstance(flags, Mapping):
        raise ManticoreError(f"trainer= is a mapping of flags, such as {{'profiler': 'simple'}}, not {shown(flags)}")
    known = set(signature(lightning.Trainer).parameters)
    for flag in flags:
        if flag not in known:
            raise UnknownName("flag of a Trainer", flag, known)
        if flag in INSTEAD:
            raise ManticoreError(f"trainer={{'{flag}': ...}} has no effect in a run; use {INSTEAD[flag]}")
        if flag not in ALLOWED:
            raise ManticoreError(
                f"trainer={{'{flag}': ...}} has no effect in a run, which has one device and no validation loop; "
                f"flags that have: {', '.join(ALLOWED)}"
            )


def check_trainer(trainer: lightning.Trainer, has_alphas: bool = False) -> None:
    """Check the flags of a Trainer before it fits a module of this package.

    Args:
        trainer: the Trainer.
        has_alphas: the module trains alphas, which need single precision: mixing weights stay on the simplex.

    Raises ManticoreError for a flag that manual optimization does not support; the message names the option to use.
    """
    if trainer.state.fn != TrainerFn.FITTING:
        return
    by_schedule = any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if trainer.accumulate_grad_batches != 1 or by_schedule:
        flag = "GradientAccumulationScheduler" if by_schedule else "accumulate_grad_batches"
        raise ManticoreError(f"{flag} does not work with the two optimizers of a search; use {ACCUMULATE}")
    if trainer.gradient_clip_val:
        raise ManticoreError(f"gradient_clip_val does not work with the two optimizers of a search; use {CLIP}")
    if trainer.precision == "16-mixed":
        raise ManticoreError(
            "precision=16-mixed scales the loss, so that gradients could not be clipped and checked; use bf16-mixed"
        )
    if trainer.precision == "16-true" or (has_alphas and trainer.precision == "bf16-true"):
        raise ManticoreError(
            f"precision={trainer.precision} keeps {'alphas and ' if has_alphas else ''}weights in 16 bits, which loses "
            "their small updates; use bf16-mixed"
        )
    if trainer.world_size > 1:
        raise ManticoreError(
            f"the Trainer has {trainer.world_size} devices; a module trains on one: Trainer(devices=1); a whole search "
            "trains on several by mc.search(..., devices=N) or manticore search --devices N"
        )
    if isinstance(trainer.strategy, ParallelStrategy):
        raise ManticoreError(
            f"strategy={type(trainer.strategy).__name__} is for several devices; a search runs on one: leave it out"
        )


def count_steps(trainer: lightning.Trainer, steps: int) -> None:
    """Set a Trainer's `global_step`, which counts the steps of all optimizers, to the number of training steps.

    Then `max_steps` and `ModelCheckpoint(every_n_train_steps=...)` mean training steps.
    """
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    for tracker in (progress.total, progress.current):
        tracker.ready = tracker.completed = steps
