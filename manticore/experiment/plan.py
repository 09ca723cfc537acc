"""What a search will train, in which order, and what that takes, measured on a few steps of each phase.

Every phase is built as the search builds it and trained for a few steps in a temporary folder: its seconds for each
step, its tokens and operations, and the memory at its peak are measured, and multiplied by its number of steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
from rich.console import Console
from torch import nn

from manticore.experiment.budget import cost_penalty
from manticore.experiment.component_notes import component_notes
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import given_base, selector_of
from manticore.experiment.objective import selection_examples
from manticore.experiment.path_search import max_search_steps
from manticore.experiment.phases import (
    ALONE,
    FINETUNE,
    UNIFORM_MIXTURE,
    build_component,
    finetune_stream,
    first_batches,
    matched_steps,
    searched_relaxation,
)
from manticore.experiment.planned import SEARCH, WARMUP, PlannedPhase, planned_phases, typical_path
from manticore.experiment.projectors import build_aligned_supernet, calibration_tokens
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import model_parameters
from manticore.nas.discretize import discretize
from manticore.nas.selection.largest_weight import LARGEST_WEIGHT
from manticore.nas.selection.trial_paths import MAX_PATHS
from manticore.nas.strategies import PathStrategy, TrainingFree, build_strategy
from manticore.nas.supernet import Supernet
from manticore.training.batching import BatchSampler, batch_to
from manticore.training.modules import TrainModule
from manticore.training.scoring import score
from manticore.training.search_module import SearchModule
from manticore.training.trainer import fit
from manticore.utils.memory import peak_memory, process_seconds, reset_peak_memory

STEPS, SECONDS, MAX_STEPS = 3, 1.0, 40
"""A probe has at least 3 steps after the first; of fast steps as many as fit into a second, at most 40."""


@dataclass(frozen=True)
class Plan:
    """The phases of a search in their order, and what they take together.

    Attributes:
        phases: in the order in which they run.
        disk_bytes: size of the run folder, without logs.
        notes: sentences on the components, and on what is not known before.
    """

    phases: tuple[PlannedPhase, ...]
    disk_bytes: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Estimated duration of the whole search."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def peak_bytes(self) -> int:
        """Estimated memory at the peak of the search."""
        return max(phase.peak_bytes for phase in self.phases)


class _StepTimer(lightning.Callback):
    """Seconds of each training step, and an end to the training after a few.

    Args:
        steps: of the phase; none beyond it is timed.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        self.ends.append(time.perf_counter())
        slow = self.ends[-1] - self.ends[0] > SECONDS
        enough = len(self.ends) > STEPS and (slow or len(self.ends) > MAX_STEPS)
        if enough or len(self.ends) >= self.steps:
            trainer.should_stop = True

    @property
    def seconds(self) -> float:
        """Mean seconds of a step after the first."""
        spans = [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)]
        return sum(spans) / len(spans) if spans else 0.0


class _Probes:
    """Times the phases of one search. Models stay in memory, as in the search.

    Args:
        exp: the run, in a temporary folder.
        base: the base, as far as it is known.
    """

    def __init__(self, exp: Experiment, base: str) -> None:
        self.exp, self.base = exp, base
        self.planned = {phase.name: phase for phase in planned_phases(exp, base)}
        self.phases: list[PlannedPhase] = []
        self.models: list[nn.Module] = []

    def set_base(self, base: str) -> None:
        """Plan the phases again if the base is another one."""
        if base != self.base:
            self.base, self.planned = base, {phase.name: phase for phase in planned_phases(self.exp, base)}

    def add(self, name: str, module: TrainModule, streams: dict[str, BatchSampler]) -> None:
        """Add a phase that trains, if it has a step."""
        if name not in self.planned:
            return
        planned = self.planned[name]
        timer, started = _StepTimer(planned.steps), time.perf_counter()
        reset_peak_memory()
        folder = self.exp.run_dir.root / f"probe-{len(self.phases)}" / "checkpoints"
        fit(module, streams, name, folder, self.exp.hardware, Console(quiet=True), [timer])
        done = len(timer.ends)
        overhead = time.perf_counter() - started - timer.seconds * done
        read = module.tokens - module.loop.seen_tokens
        self.models.append(module.net)
        self.phases.append(
            replace(
                planned,
                tokens=planned.steps * read / done,
                flops=planned.steps * module.flops / done,
                seconds=planned.steps * timer.seconds + max(0.0, overhead),
                peak_bytes=peak_memory(),
            )
        )

    def time(self, name: str, run: Callable[[], Any], factor: float = 1.0) -> Any:
        """Add a phase that trains nothing; returns what `run` returns."""
        reset_peak_memory()
        started = time.perf_counter()
        result = run()
        seconds = factor * (time.perf_counter() - started)
        self.phases.append(PlannedPhase(name, seconds=seconds, peak_bytes=peak_memory()))
        return result

    def scoring_seconds(self, net: nn.Module, exp: Experiment) -> float:
        """Seconds of the evaluation of one sequence, from one batch of the validation split, which is scored twice: the
        first pass loads kernels and allocates memory."""
        examples, batch_size = exp.task.splits().val, exp.recipe.run.eval_batch_size
        examples = examples.take(range(min(len(examples), batch_size)))
        seconds = math.inf
        for _ in range(2):
            started = time.perf_counter()
            score(net, examples, exp.task.collate, batch_size, exp.hardware.device)
            seconds = min(seconds, time.perf_counter() - started)
        net.to("cpu")
        return seconds / len(examples)


def plan_search(exp: Experiment) -> Plan:
    """The plan of a search. Nothing is written outside of a temporary folder.

    Args:
        exp: the run, after `check_experiment`.
    """
    with TemporaryDirectory(prefix="manticore-plan-") as folder:
        exp = replace(exp, run_dir=RunDir(Path(folder)), console=Console(quiet=True))
        probes = _Probes(exp, exp.space.base or exp.space.names[0])
        probes.phases.append(PlannedPhase("loading", seconds=process_seconds(), peak_bytes=peak_memory()))
        if exp.recipe.baselines.components:
            for name in exp.space.names:
                _probe_component(probes, exp.for_component(name), name)
        base, net, exp = _probe_alignment(probes, exp)
        probes.set_base(base)
        _probe_search(probes, exp, net, base)
        _probe_finetuning(probes, exp, net)
        _probe_evaluation(probes, exp, net)
        notes = component_notes(exp)
    sizes = [4 * model_parameters(model) for model in {id(model): model for model in probes.models}.values()]
    weights, hybrid = sum(sizes), 4 * model_parameters(probes.models[-1])
    return Plan(tuple(probes.phases), weights + hybrid, tuple(notes))


def _probe_component(probes: _Probes, exp: Experiment, name: str) -> None:
    phase, steps = f"{ALONE}{name}", matched_steps(exp.recipe, exp.search_length)
    net = build_component(exp, name, phase)
    module = TrainModule(net, exp.recipe.finetune.weights, steps, exp.loop())
    probes.add(phase, module, finetune_stream(exp))


def _probe_alignment(probes: _Probes, exp: Experiment) -> tuple[str, Supernet, Experiment]:
    """The base, which is the first component where it is only known after training, and the aligned supernet."""

    def align() -> tuple[str, Supernet, Experiment]:
        choice = given_base(exp)
        base = exp.space.names[0] if choice is None else choice.name
        base_exp = exp.for_component(base)
        return base, build_aligned_supernet(base_exp, base, searched_relaxation(exp.recipe), "search"), base_exp

    result: tuple[str, Supernet, Experiment] = probes.time("alignment", align)
    return result


def _probe_search(probes: _Probes, exp: Experiment, net: Supernet, base: str) -> None:
    options = exp.recipe.search
    strategy = build_strategy(options.strategy, options.strategy_options)
    if isinstance(strategy, TrainingFree):
        device = exp.hardware.device
        batches = [batch_to(batch, device) for batch in first_batches(exp, options.strategy, 1)]
        probes.time(SEARCH, lambda: strategy.search(net.to(device), batches), strategy.batches)
        net.to("cpu")
        return
    if isinstance(strategy, PathStrategy):
        steps = max_search_steps(exp.recipe)
        module = TrainModule(_path_model(exp, net), exp.recipe.finetune.weights, steps, exp.loop())
        probes.add(SEARCH, module, finetune_stream(exp))
        return
    searching = exp.for_search()
    streams = {
        name: searching.stream(splits, options.batch_size, f"search {name}")
        for name, splits in strategy.streams.items()
    }
    for name, part_options in ((WARMUP, options), (SEARCH, replace(options, warmup_steps=0))):
        if name not in probes.planned:
            continue
        module = SearchModule(
            net, options=part_options, loop=searching.loop(calibration_tokens(exp, base)), cost=cost_penalty(exp, net)
        )
        probes.add(name, module, streams)


def _path_model(exp: Experiment, net: Supernet) -> Any:
    return discretize(net, typical_path(exp, net), **exp.task.config_fields())


def _probe_finetuning(probes: _Probes, exp: Experiment, net: Supernet) -> None:
    options = exp.recipe.finetune
    module = TrainModule(_path_model(exp, net), options.weights, options.steps, exp.loop())
    probes.add(FINETUNE, module, finetune_stream(exp))
    tuned = probes.phases[-1]
    if exp.recipe.baselines.uniform:
        uniform = build_aligned_supernet(exp, net.base, "fixed", "search")
        steps = matched_steps(exp.recipe, exp.search_length)
        probes.add(UNIFORM_MIXTURE, TrainModule(uniform, options.weights, steps, exp.loop()), finetune_stream(exp))
    last = [*probes.planned.values()][-1]
    if last.name not in (FINETUNE, UNIFORM_MIXTURE, SEARCH) and tuned.name == FINETUNE:  # other paths
        factor = last.steps / tuned.steps
        probes.models.append(probes.models[-1])
        probes.phases.append(
            replace(
                last,
                tokens=factor * tuned.tokens,
                flops=factor * tuned.flops,
                seconds=factor * tuned.seconds,
                peak_bytes=tuned.peak_bytes,
            )
        )


def _probe_evaluation(probes: _Probes, exp: Experiment, net: Supernet) -> None:
    """Selection by the validation split, and the scores of all models on both splits."""
    splits, baselines = exp.task.splits(), exp.recipe.baselines
    components, hybrid = baselines.components * len(exp.components), _path_model(exp, net)
    probes.models.append(hybrid)
    reset_peak_memory()
    single, mixture = probes.scoring_seconds(hybrid, exp), probes.scoring_seconds(net, exp)
    paths = min(MAX_PATHS, net.choices.count)
    selector = selector_of(exp.recipe)
    strategy = build_strategy(exp.recipe.search.strategy, exp.recipe.search.strategy_options)
    selected = 0 if selector == LARGEST_WEIGHT and not isinstance(strategy, PathStrategy) else paths
    searching = exp.for_search()
    searched = single if searching is exp or not selected else probes.scoring_seconds(hybrid, searching)
    seconds = selected * len(selection_examples(searching)) * searched
    seconds += len(splits.val) * single * (1 + components)
    seconds += len(splits.test) * single * (2 + components + baselines.paths)
    seconds += len(splits.test) * mixture * (1 + baselines.uniform)
    probes.phases.append(PlannedPhase("evaluation", seconds=seconds, peak_bytes=peak_memory()))
