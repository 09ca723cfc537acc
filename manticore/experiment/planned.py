"""The phases of a search in their order: what each trains at which rate, on how many tokens, with how many operations.

All of it follows from the recipe, the data and models on the meta device; nothing is computed. Operations are counted
as in training: 3 forward passes for a step of the weights, 2 for one of the alphas. The path that will be selected is
not known; hybrids have one of all components in turns. A strategy with further passes takes more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from manticore.experiment.experiment import Experiment
from manticore.experiment.pareto import by_hand
from manticore.experiment.path_search import max_search_steps
from manticore.experiment.phases import (
    ALONE,
    FINETUNE,
    RANDOM_PATH,
    UNIFORM_MIXTURE,
    finetune_stream,
    matched_steps,
    starts_from_components,
)
from manticore.nas.choices import PathNames
from manticore.nas.cost import FlopCounter
from manticore.nas.discretize import discretize
from manticore.nas.searchable import alphas
from manticore.nas.strategies import PathStrategy, SampledSupernet, TrainingFree, build_strategy
from manticore.nas.supernet import Supernet
from manticore.report.table import Row, Table
from manticore.training.batching import BatchSampler
from manticore.training.depth import freeze_first_layers
from manticore.utils.formatting import DASH, byte_size, count, duration

WARMUP, SEARCH = "search, warm-up", "search"
"""Phases of a search: its first steps, which train the weights alone, and all later ones."""

WEIGHT_PASSES, ALPHA_PASSES = 3, 2
"""Cost of a step of the weights, and of one of the alphas, in forward passes."""


@dataclass(frozen=True)
class PlannedPhase:
    """One phase of a search.

    Attributes:
        name: of the phase.
        parameters: that are trained; 0 for a phase that trains nothing.
        lr: peak learning rate of the weights; None for such a phase.
        steps: optimizer steps.
        tokens: tokens that it reads in training.
        flops: operations of the training, forward and backward.
        seconds: estimated duration; 0 if it was not measured.
        peak_bytes: memory at the peak: of the process on a CPU, of the allocated tensors on a GPU. 0 if it was not
            measured.
    """

    name: str
    parameters: int = 0
    lr: float | None = None
    steps: int = 0
    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0


def planned_phases(exp: Experiment, base: str) -> list[PlannedPhase]:
    """The phases of a search that train, and the search itself.

    Args:
        exp: the run, after `check_experiment`.
        base: the base, or the component that stands for it until it is chosen.
    """
    tuned, baselines = exp.recipe.finetune, exp.recipe.baselines
    matched, phases = matched_steps(exp.recipe, exp.search_length), list[PlannedPhase]()
    for name in exp.space.names if baselines.components else ():
        own = exp.for_component(name)
        alone = _hybrid(own, own.skeleton(name, alone=True), [name] * exp.space.stages)
        phases.append(_training(own, f"{ALONE}{name}", alone, matched))
    exp = exp.for_component(base)
    net = exp.skeleton(base)
    hybrid = _hybrid(exp, net, typical_path(exp, net))
    phases += [*_search_phases(exp, net, hybrid), _training(exp, FINETUNE, hybrid, tuned.steps)]
    if baselines.uniform:
        phases.append(_training(exp, UNIFORM_MIXTURE, exp.skeleton(base), matched))
    if baselines.paths and net.choices.count > 1:
        name = RANDOM_PATH if baselines.paths == 1 else f"{baselines.paths} other paths"
        steps = matched if starts_from_components(exp.recipe) else tuned.steps
        phases.append(_training(exp, name, hybrid, baselines.paths * steps))
    return [phase for phase in phases if phase.steps or phase.name == SEARCH]


def typical_path(exp: Experiment, net: Supernet) -> PathNames:
    """A path of all components in turns, whose cost is near that of a selected path; else the first path."""
    hand = [path for path, label in by_hand(net.choices, exp.space.names).items() if label == "by hand"]
    return hand[-1] if hand else next(iter(net.choices.paths()))


def _hybrid(exp: Experiment, net: Supernet, path: Sequence[str]) -> Any:
    """The hybrid on a path of a skeleton, without weights; embeddings of a skeleton have them and are not copied."""
    with warnings.catch_warnings(), torch.device(next(net.parameters()).device):
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")
        return discretize(net, path, **exp.task.config_fields())


def _training(exp: Experiment, name: str, net: nn.Module, steps: int) -> PlannedPhase:
    """A phase that trains the weights of `net` on the batches of the fine-tuning."""
    options = exp.recipe.finetune.weights
    freeze_first_layers(net, options.freeze_depth)
    tokens = steps * _batch_tokens(finetune_stream(exp)["weights"])
    parameters = _trained(net) - sum(alpha.numel() for alpha in alphas(net))
    flops = WEIGHT_PASSES * tokens * FlopCounter(net, exp.mean_length).forward()
    return PlannedPhase(name, parameters, options.lr, steps, tokens, flops)


def _search_phases(exp: Experiment, net: Supernet, hybrid: nn.Module) -> list[PlannedPhase]:
    options = exp.recipe.search
    strategy = build_strategy(options.strategy, options.strategy_options)
    if isinstance(strategy, TrainingFree):
        return [PlannedPhase(SEARCH)]
    if isinstance(strategy, PathStrategy):
        return [_training(exp, SEARCH, hybrid, max_search_steps(exp.recipe))]
    searching = exp.for_search()
    freeze_first_layers(net, options.weights.freeze_depth)
    batches = {
        name: _batch_tokens(searching.stream(splits, options.batch_size, f"search {name}"))
        for name, splits in strategy.streams.items()
    }
    mixture = FlopCounter(net, searching.mean_length).forward()
    sampled = options.sample_paths and net.trains_single_paths and "alphas" in batches
    single = sampled or isinstance(strategy, SampledSupernet)
    weights = FlopCounter(hybrid, searching.mean_length).forward() if single else mixture
    costs = {name: ALPHA_PASSES * mixture if name == "alphas" else WEIGHT_PASSES * weights for name in batches}
    phases = []
    for phase, steps, streams in (
        (WARMUP, options.warmup_steps, [name for name in batches if name != "alphas" or len(batches) == 1]),
        (SEARCH, options.steps - options.warmup_steps, [*batches]),
    ):
        tokens = steps * sum(batches[name] for name in streams)
        flops = steps * sum(batches[name] * costs[name] for name in streams)
        phases.append(PlannedPhase(phase, _trained(net), options.weights.lr, steps, tokens, flops))
    return phases


def _trained(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def _batch_tokens(sampler: BatchSampler) -> float:
    return sampler.batch_size * float(sampler.examples.lengths.mean())


def phase_table(phases: Sequence[PlannedPhase], measured: bool) -> Table:
    """One row for each phase, in their order; `measured`: with time and memory."""
    columns = ("phase", "trains", "steps", "peak rate", "tokens", "FLOPs", *(("time", "memory") if measured else ()))
    rows = (Row(_cells(phase)[: len(columns)]) for phase in phases)
    return Table(columns, tuple(rows), "what the search will do")


def _cells(phase: PlannedPhase) -> tuple[str, ...]:
    trains = phase.steps > 0
    return (
        phase.name,
        count(phase.parameters) if trains else DASH,
        f"{phase.steps:,}" if trains else DASH,
        f"{phase.lr:g}" if trains else DASH,
        count(phase.tokens) if trains else DASH,
        count(phase.flops) if trains else DASH,
        duration(phase.seconds),
        byte_size(phase.peak_bytes),
    )
