"""One run in memory: recipe, task, components, hardware and folder, and the training of a phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, TypeVar

import lightning
import torch
from rich.console import Console
from torch import nn

from manticore.alignment.calibration import Calibration
from manticore.alignment.projector_set import ProjectorSet
from manticore.components import Component, Scratch, load
from manticore.components.context_length import TASK_ADVICE, check_context_length, component_context_length
from manticore.config.recipe import Recipe
from manticore.experiment.adapters import adapt
from manticore.experiment.environment import setup_hardware
from manticore.experiment.projectors import ProjectorFit
from manticore.experiment.run_dir import RunDir
from manticore.experiment.search_task import load_search_task
from manticore.experiment.seeding import seed_of, seed_torch
from manticore.nas.choices import PathNames
from manticore.nas.selection import Difference, PathScores
from manticore.nas.space import SearchSpace
from manticore.nas.stage_scores import StageScores
from manticore.nas.strategies import build_strategy
from manticore.nas.supernet import Supernet
from manticore.tasks.catalog import load_task
from manticore.tasks.dataset import Examples, concat
from manticore.tasks.language.copies import with_copies
from manticore.tasks.options import choose_preset
from manticore.tasks.task import Task
from manticore.training.batching import BatchSampler
from manticore.training.metrics import metrics
from manticore.training.modules import TrainModule
from manticore.training.options import LoopOptions
from manticore.training.run_loggers import RunLoggers
from manticore.training.scoring import Score
from manticore.training.shared_scoring import score_together
from manticore.training.trainer import Hardware, fit
from manticore.training.user_trainer import UserTrainer
from manticore.utils.console import info

Net = TypeVar("Net", bound=nn.Module)


@dataclass
class PhaseResult(Generic[Net]):
    """A model after a phase of training.

    Attributes:
        net: the model, in evaluation mode, on the CPU.
        tokens: tokens that it was trained on.
        seconds: duration of the phase.
        task: the task as this model's tokenizer reads it.
        flops: operations of the phase, forward and backward.
        scores: its scores by split; only those that were computed.
        stage_scores: for a search that trains nothing, the scores that its alphas come from.
        path_scores: for a search, the scores of paths, once they are computed.
        text_loss: for a search that evaluates paths, the validation loss of a path without recall, in nats.
        compare: for a search that evaluates paths, a function from two paths to the difference of their validation
            losses.
        warnings: for a search, reasons to doubt its choice, as sentences.
        finetune_steps: for a search that trains paths by themselves, the step at which the fine-tuning of the selected
            path ends; its steps in the search count.
        bits: for a search that chose them, the bits of the stages of the selected path.
        kept_tokens: for such a search, the tokens on which it trained the selected path. They are not in `tokens` but
            in those of the fine-tuning.
    """

    net: Net
    tokens: int
    seconds: float
    task: Task
    flops: float = 0.0
    scores: dict[str, Score] = field(default_factory=dict)
    stage_scores: StageScores | None = None
    path_scores: PathScores | None = None
    text_loss: Callable[[PathNames], float] | None = None
    compare: Callable[[PathNames, PathNames], Difference | None] | None = None
    warnings: tuple[str, ...] = ()
    finetune_steps: int | None = None
    kept_tokens: int = 0
    bits: tuple[int, ...] = ()


@dataclass
class ExperimentCache:
    """Objects that are loaded or computed once for a run.

    Attributes:
        components: the components of the search space.
        projector_set: the recipe's projector set.
        calibrations: text that projectors are fitted on, by base.
        projector_fits: projectors that were fitted or read, by base.
        search_tasks: by task, that of its search, if it is another one.
        teachers: models whose predictions the fine-tuning learns, by name.
    """

    components: list[Component] | None = None
    projector_set: ProjectorSet | None = None
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    projector_fits: dict[str, ProjectorFit] = field(default_factory=dict)
    search_tasks: dict[Task, Task] = field(default_factory=dict)
    teachers: dict[str, Component] = field(default_factory=dict)


@dataclass
class Experiment:
    """A run and its objects.

    Attributes:
        recipe: what to do.
        task: the task; a language task as the base model's tokenizer reads it, once the base is chosen.
        hardware: device and precision.
        run_dir: the folder of the results.
        console: where progress is printed.
        preset_reason: why the task has its preset.
        seconds: duration of each phase, by name.
        phases: number of phases of the run; 0: not known before they have run.
        cache: objects that are loaded or computed once for the run.
        user: what the user adds to the Trainer of every phase.
        loggers: the loggers of the recipe.
    """

    recipe: Recipe
    task: Task
    hardware: Hardware
    run_dir: RunDir
    console: Console
    preset_reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    phases: int = 0
    cache: ExperimentCache = field(default_factory=ExperimentCache, repr=False)
    user: UserTrainer = field(default_factory=UserTrainer, repr=False)
    loggers: RunLoggers | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        run_dir: RunDir,
        console: Console,
        task: Task | None = None,
        hardware: Hardware | None = None,
        preset_reason: str = "",
        user: UserTrainer | None = None,
    ) -> Experiment:
        """Load the components, and the task and the hardware of the recipe where they are not given.

        Raises ManticoreError if one of them cannot be loaded.
        """
        task = task or load_task(recipe.task)
        hardware = hardware or setup_hardware(recipe.run)
        exp = cls(recipe, task, hardware, run_dir, console, preset_reason, user=user or UserTrainer())
        _ = exp.components  # an error in one of them is raised here
        return exp

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.recipe.space

    @property
    def components(self) -> list[Component]:
        """The components of the search space, loaded or drawn when they are first needed."""
        if self.cache.components is None:
            self.cache.components = load_components(self.recipe, self.task)
        return self.cache.components

    @property
    def preset(self) -> tuple[str, str]:
        """The preset of the task, and why it was chosen."""
        preset, reason = choose_preset(self.recipe.task.preset, self.recipe.run.device)
        return preset, self.preset_reason or reason

    def for_component(self, name: str) -> Experiment:
        """The same run with the task as the tokenizer of component `name` reads it.

        Raises ManticoreError if a language task gets a component without a tokenizer.
        """
        if not self.task.is_language_modeling:
            return self
        return replace(self, task=self.task.with_tokenizer(self.component(name).tokenizer, owner=f"'{name}'"))

    def for_search(self) -> Experiment:
        """The same run on the task of the search; `search.shorter_sequences` or `task_settings` make it another one.

        Raises ManticoreError if models of the task cannot be trained on it.
        """
        if not self.recipe.search.has_own_task:
            return self
        if self.task not in self.cache.search_tasks:
            self.cache.search_tasks[self.task] = load_search_task(self.recipe, self.task)
        return replace(self, task=self.cache.search_tasks[self.task])

    @cached_property
    def search_length(self) -> float:
        """Mean tokens of a training sequence of the search, as a multiple of those of the task."""
        if not self.recipe.search.has_own_task:
            return 1.0
        exp = self.for_component(self.space.base or self.space.names[0])
        own, searched = (each.task.splits().train.lengths.mean() for each in (exp, exp.for_search()))
        return float(searched / own)

    def seed(self, *names: str) -> int:
        """The seed of a purpose; see `seeding`."""
        return seed_of(self.recipe.run.seed, *names)

    @cached_property
    def mean_length(self) -> int:
        """Mean tokens of a training sequence, at which costs are counted."""
        return int(self.task.splits().train.lengths.mean() / self.task.sequences)

    def supernet(self, base: str, relaxation: str, purpose: str, alone: bool = False, adapted: bool = True) -> Supernet:
        """A new supernet, of all components or of the base alone. `purpose` seeds its projectors and head.

        With an adapter in the recipe, its layers have adapters, and the frozen weights are the memory of the
        components' own; `adapted=False` leaves them out. Raises ManticoreError if the adapter does not fit.
        """
        seed_torch(self.recipe.run.seed, "supernet", purpose)
        # `self.components` seeds torch again if it loads the components now, as in trials of a study. Projectors and
        # head then depend on the seed of the last component. Results depend on this order: do not change it.
        parts = [component for component in self.components if not alone or component.name == base]
        candidates = [base] if alone else None
        net = Supernet(parts, self.space, base, self.task.head_spec, relaxation, candidates)
        net.temperature = self.recipe.search.temperature
        if not alone:
            build_strategy(self.recipe.search.strategy, self.recipe.search.strategy_options).prepare(net)
        if adapted and self.recipe.adapter.name is not None:
            adapt(net, self.recipe.adapter, strict=not alone, searched=not alone and relaxation != "fixed")
        return net

    def skeleton(self, base: str, alone: bool = False, adapted: bool = True) -> Supernet:
        """A supernet on the meta device: projectors and head have shapes without weights. For checks and costs.

        If a user's projector cannot be built on the meta device, the result is an ordinary supernet.
        """
        try:
            with torch.device("meta"):
                return self.supernet(base, "softmax", "skeleton", alone, adapted)
        except (NotImplementedError, RuntimeError):
            return self.supernet(base, "softmax", "skeleton", alone, adapted)

    def component(self, name: str) -> Component:
        """The component called `name`."""
        return next(component for component in self.components if component.name == name)

    def stream(self, splits: Sequence[str], batch_size: int, purpose: str, copies: float = 0.0) -> BatchSampler:
        """Batches of the named splits together, in an order that depends on the seed and the purpose.

        `copies` is the share of the sequences that are random tokens, given twice.
        """
        examples = concat([getattr(self.task.splits(), name) for name in splits])
        examples = with_copies(examples, copies, self.seed("copies"))
        return BatchSampler(examples, batch_size, self.seed("stream", purpose), self.task.collate)

    def loop(self, seen_tokens: int = 0) -> LoopOptions:
        """How training steps of this run are executed."""
        run = self.recipe.run
        return LoopOptions(
            run.micro_batch_size, run.gradient_checkpointing, run.log_every, self.mean_length, seen_tokens
        )

    def train(
        self,
        phase: str,
        build: Callable[[], Net],
        module: Callable[[Net], TrainModule],
        streams: Callable[[], dict[str, BatchSampler]],
        callbacks: Sequence[lightning.Callback] = (),
    ) -> PhaseResult[Net]:
        """The model after a phase: trained now, resumed from a saved state, or read if the phase is finished.

        Args:
            phase: name of the phase; it seeds the training and names the files.
            build: makes the untrained model.
            module: from the model to its Lightning module.
            streams: batches by the names that the module reads.
            callbacks: further callbacks of the trainer.
        """
        seed_torch(self.recipe.run.seed, "phase", phase)
        net = build()
        training = module(net)
        if (finished := self.finished(phase, net)) is not None:
            return finished
        started = time.monotonic()
        folder, more = self.run_dir.checkpoints, (callbacks, self.user, self.loggers, self.position(phase))
        fit(training, streams(), phase, folder, self.hardware, self.console, *more)
        seconds = time.monotonic() - started
        return self.keep(phase, net, training.tokens, seconds, training.step_count, training.flops)

    def position(self, phase: str) -> str:
        """The number of a phase among those of the run, as in `3 of 8`; empty if it is not known."""
        number = len(self.seconds.keys() - {phase}) + 1
        return f"{number} of {self.phases}" if number <= self.phases else ""

    def finished(self, phase: str, net: Net) -> PhaseResult[Net] | None:
        """The result of a finished phase, with its weights loaded into `net`; None if it is not finished."""
        record = self.run_dir.finished_phase(phase)
        if record is None:
            return None
        self.run_dir.restore(phase, net)
        self.run_dir.remove_state(phase)
        position = self.position(phase)
        info(self.console, f"  {phase}{f' ({position})' if position else ''}: finished before")
        self.seconds[phase] = record["seconds"]
        return PhaseResult(_evaluated(net), record["tokens"], record["seconds"], self.task, record["flops"])

    def keep(
        self, phase: str, net: Net, tokens: int, seconds: float, steps: int = 0, flops: float = 0.0
    ) -> PhaseResult[Net]:
        """Save a phase as finished and return its result."""
        record = {"tokens": tokens, "seconds": seconds, "steps": steps, "flops": flops}
        self.run_dir.save_phase(phase, net, record)
        self.seconds[phase] = seconds
        return PhaseResult(_evaluated(net), tokens, seconds, self.task, flops)

    def score(self, net: nn.Module, split: str, task: Task | None = None, **options: object) -> Score:
        """The score of `net` on one split of the task, as this run or as `task` reads it. `options` go to the net."""
        task = task or self.task
        return self.score_examples(net, getattr(task.splits(), split), task, **options)

    def score_examples(self, net: nn.Module, examples: Examples, task: Task | None = None, **options: object) -> Score:
        """The score of `net` on examples of the task, as this run or as `task` reads them."""
        task = task or self.task
        batch_size = self.recipe.run.eval_batch_size
        result = score_together(self.hardware, net, examples, task.collate, batch_size, metrics[task.metric], **options)
        net.to("cpu")
        return result


def load_components(recipe: Recipe, task: Task) -> list[Component]:
    """The components of a recipe's search space: loaded, or drawn at the recipe's sizes. Each has its own seed.

    Raises ManticoreError if one cannot be loaded, has fewer layers than there are stages, or fewer positions than the
    task has tokens.
    """
    sizes, scratch = recipe.scratch, None
    if not task.is_language_modeling:
        scratch = Scratch(sizes.attention, sizes.recurrent, task.vocabulary.size, task.max_length)
    components = []
    for spec in recipe.space.components:
        seed_torch(recipe.run.seed, "component", spec.name)
        component = load(spec, scratch)
        recipe.space.layer_boundaries(component)
        limits = {spec.name: component_context_length(component)}
        check_context_length(limits, task.max_length, "a task sequence", TASK_ADVICE)
        components.append(component)
    return components


def _evaluated(net: Net) -> Net:
    net.eval()
    return net
