"""How long a run will take on this machine, from a few timed sequences. Changes no weight and no random state.

Components are timed on a forward and a backward pass. A path takes as long as the mean of the components, a supernet as
long as all of them. Projectors, optimizers and logs are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from rich.console import Console
from torch import nn

from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import TRAINING_SPLITS, matched_steps, starts_from_components
from manticore.nas.strategies import PathStrategy, SampledSupernet, strategies
from manticore.tasks.dataset import Batch
from manticore.training.batching import BatchSampler, batch_to, micro_batches
from manticore.training.scoring import logits_of
from manticore.training.trainer import Hardware
from manticore.utils.console import info

LONG = 3600.0
"""Duration in seconds above which an estimate is printed before a run."""

PROBE_SEQUENCES = 4
"""Number of sequences of the first measurement, which overestimates models that are faster in larger batches."""

FORWARD_SHARE = 1 / 3
"""Share of the forward pass in the time of a training step."""


@dataclass(frozen=True)
class Speed:
    """Seconds that a training step takes for each sequence: of a path, and of a supernet."""

    path: float
    supernet: float


def print_estimate(console: Console, hardware: Hardware, batch_size: int, seconds_at: Callable[[int], float]) -> None:
    """Print how long a run will take, if that is more than an hour.

    Args:
        console: where to print.
        hardware: the device of the run.
        batch_size: sequences in a batch.
        seconds_at: function from the number of sequences that are timed at once to the seconds of the run.
    """
    if seconds_at(min(PROBE_SEQUENCES, batch_size)) > LONG and (seconds := seconds_at(batch_size)) > LONG:
        info(
            console,
            f"estimated time: about {format_hours(seconds)} on this machine ({hardware.accelerator}); fewer steps, "
            "shorter sequences or smaller models take less",
        )


def print_training_estimate(
    model: nn.Module, sampler: BatchSampler, steps: int, micro_batch_size: int, hardware: Hardware, console: Console
) -> None:
    """Print how long `steps` training steps of a model will take, if that is more than an hour."""

    def seconds_at(sequences: int) -> float:
        each = sequence_seconds(model, sampler, sequences, micro_batch_size, hardware)
        return steps * sampler.batch_size * each

    print_estimate(console, hardware, sampler.batch_size, seconds_at)


def format_hours(seconds: float) -> str:
    """A duration in hours, with one digit below ten."""
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 9.95 else f"{hours:,.0f} h"


def print_search_estimate(exp: Experiment) -> None:
    """Print how long a search will take, if that is more than an hour."""

    def seconds_at(sequences: int) -> float:
        return search_seconds(exp, measure_speed(exp, sequences))

    print_estimate(exp.console, exp.hardware, exp.recipe.finetune.batch_size, seconds_at)


def search_seconds(exp: Experiment, speed: Speed) -> float:
    """Estimated seconds of a search: all its training and evaluation."""
    options, baselines = exp.recipe.finetune, exp.recipe.baselines
    matched, finetuned = matched_sequences(exp), options.steps * options.batch_size
    splits, components = exp.task.splits(), baselines.components * len(exp.components)
    seconds = (
        hybrid_seconds(exp, speed) + components * matched * speed.path + baselines.uniform * matched * speed.supernet
    )
    seconds += baselines.paths * (matched if starts_from_components(exp.recipe) else finetuned) * speed.path
    tested = len(splits.test) * (
        (2 + components + baselines.paths) * speed.path + (1 + baselines.uniform) * speed.supernet
    )
    return seconds + FORWARD_SHARE * (tested + len(splits.val) * (1 + components) * speed.path)


def hybrid_seconds(exp: Experiment, speed: Speed) -> float:
    """Estimated seconds of the search itself and of the fine-tuning of its hybrid."""
    options, finetuning = exp.recipe.search, exp.recipe.finetune
    searched: float = strategies[options.strategy].sequences(options.steps, options.warmup_steps, options.batch_size)
    # Weight steps may train a sampled path; alphas see the mixture.
    sampled: float = options.steps * options.batch_size if options.sample_paths else 0
    single = issubclass(strategies[options.strategy], PathStrategy | SampledSupernet)
    sampled = searched if single else min(sampled, searched)
    finetuned = finetuning.steps * finetuning.batch_size
    search = (searched - sampled) * speed.supernet + sampled * speed.path
    return search * exp.search_length + finetuned * speed.path


def matched_sequences(exp: Experiment) -> int:
    """Sequences that a baseline is trained on."""
    return matched_steps(exp.recipe, exp.search_length) * exp.recipe.finetune.batch_size


def measure_speed(exp: Experiment, sequences: int) -> Speed:
    """Time the components of a run on `sequences` sequences at once."""
    seconds = []
    for name in exp.space.names:
        own = exp.for_component(name)
        model, sampler = own.component(name).model, own.stream(TRAINING_SPLITS, sequences, "estimate")
        seconds.append(sequence_seconds(model, sampler, sequences, own.recipe.run.micro_batch_size, own.hardware))
    return Speed(fmean(seconds), sum(seconds))


def sequence_seconds(
    model: nn.Module, sampler: BatchSampler, sequences: int, micro_batch_size: int, hardware: Hardware
) -> float:
    """Seconds of a training step for each sequence of mean length.

    Args:
        model: weights, gradients, mode and random states stay as they are.
        sampler: batches of the training.
        sequences: how many to time at once.
        micro_batch_size: how many of them go through the model at once; 0: all.
        hardware: device and precision.
    """
    sampled, _ = next(micro_batches(sampler.batch(0), sequences))
    parts = [part for part, _ in micro_batches(sampled, micro_batch_size)]
    tokens = float(sampled["attention_mask"].sum())
    return _time_steps(model, parts, hardware) * float(sampler.examples.lengths.mean()) / max(1.0, tokens)


def _time_steps(model: nn.Module, batches: Sequence[Batch], hardware: Hardware) -> float:
    """Seconds of a forward and a backward pass over all batches, after one that is not timed."""
    parameters, device = [p for p in model.parameters() if p.requires_grad], hardware.device
    cuda = device.type == "cuda"

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=hardware.precision == "bf16-mixed"):
            logits = logits_of(model, batch_to(batch, device))
        torch.autograd.grad(logits.float().mean(), parameters, allow_unused=True)
        if cuda:
            torch.cuda.synchronize()

    with torch.random.fork_rng(devices=[device] if cuda else []):
        model.to(device)
        try:
            step(batches[0])
            started = time.perf_counter()
            for batch in batches:
                step(batch)
            return time.perf_counter() - started
        finally:
            model.to("cpu")
