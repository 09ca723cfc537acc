"""What all stories share: the task, the components and the trained models of one run, made from its recipe."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import lightning
import torch
from rich.console import Console
from torch import nn

from manticore.components import Component, Scratch, load
from manticore.components.context_length import TASK_ADVICE, check_context_length, component_context_length
from manticore.config.recipe import Recipe
from manticore.experiment.run_dir import RunDir
from manticore.modeling.segments import Segment
from manticore.nas.cost import FlopCounter
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import concat
from manticore.tasks.options import choose_preset
from manticore.tasks.task import Task
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from manticore.training.scoring import Score, score
from manticore.training.trainer import Hardware, fit
from manticore.utils.console import info


@dataclass
class PhaseResult:
    """A model after a phase: the network, the tokens it saw, operations and seconds that took, its scores by split.

    `task` is the task as this model reads it.
    """

    net: nn.Module
    tokens: int
    seconds: float
    task: Task
    flops: float = 0.0
    scores: dict[str, Score] = field(default_factory=dict)


def seed_of(seed: int, *names: str) -> int:
    """A seed that depends on the run's seed and on what it is for, so phases can be run in any order, or skipped."""
    digest = hashlib.blake2b("/".join([str(seed), *names]).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % (2**31)


@dataclass
class Experiment:
    """One run's means.

    Attributes:
        recipe: what to do.
        task: on what; text as base reads it, once it is known who is base.
        machine: where.
        folder: where results are kept.
        console: where the user watches.
        seconds: how long each phase took.
        fits: by base, the projectors that were fitted; see `aligning`.
        preset_reason: why the task has its preset; empty: as `choose_preset` says.
    """

    recipe: Recipe
    task: Task
    machine: Hardware
    folder: RunDir
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    fits: dict[str, object] = field(default_factory=dict)
    preset_reason: str = ""

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.recipe.space

    @cached_property
    def components(self) -> list[Component]:
        """The components, loaded or drawn; the same for the same seed."""
        sizes, scratch = self.recipe.scratch, None
        if not self.task.is_language_modeling:
            scratch = Scratch(sizes.attention, sizes.recurrent, self.task.vocabulary.size, self.task.max_length)
        out = []
        for spec in self.space.components:
            self.reseed("component", spec.name)
            out.append(load(spec, scratch))
            out[-1].layer_boundaries(self.space.stages)  # more stages than layers is said before anything is trained
            limits = {spec.name: component_context_length(out[-1])}
            check_context_length(limits, self.task.max_length, "a task sequence", TASK_ADVICE)
        return out

    def read_as(self, name: str) -> Experiment:
        """The same means, with text as the component `name` reads it. Raises ManticoreError if it has no tokenizer."""
        if not self.task.is_language_modeling:
            return self  # before the components are loaded, which seeds torch
        tokenizer = next(component.tokenizer for component in self.components if component.name == name)
        other = replace(self, task=self.task.with_tokenizer(tokenizer, owner=f"'{name}'"))
        other.__dict__["components"] = self.components
        return other

    def reseed(self, *names: str) -> None:
        """Set torch's seed from the run's and from what it is for."""
        torch.manual_seed(seed_of(self.recipe.run.seed, *names))

    @property
    def preset(self) -> tuple[str, str]:
        """The task's preset, and why."""
        chosen, why = choose_preset(self.recipe.task.preset)
        return chosen, self.preset_reason or why

    @property
    def mean_length(self) -> int:
        """Tokens of a sequence, in the mean; what costs are counted at."""
        return int(self.task.splits().train.lengths.mean() / self.task.sequences)

    def supernet(self, base: str, relaxation: str, purpose: str) -> Supernet:
        """A fresh supernet; `purpose` seeds its projectors and head."""
        self.reseed("supernet", purpose)
        made = Supernet(self.components, self.space, base, self.task.head_spec, relaxation)
        made.temperature = self.recipe.search.temperature
        return made

    def stream(self, splits: Sequence[str], batch_size: int, purpose: str) -> BatchSampler:
        """Batches of the named splits together."""
        held = self.task.splits()
        examples = concat([getattr(held, name) for name in splits])
        return BatchSampler(examples, batch_size, seed_of(self.recipe.run.seed, "stream", purpose), self.task.collate)

    def train(
        self,
        phase: str,
        make: Callable[[], TrainModule],
        streams: Callable[[], dict[str, BatchSampler]],
        callbacks: Sequence[lightning.Callback] = (),
    ) -> PhaseResult:
        """The model after `phase`: trained now, gone on with, or read if the phase was finished before."""
        self.reseed("phase", phase)
        module = make()
        module.micro_batch_size = self.recipe.run.micro_batch_size
        module.meter = FlopCounter(module.net, self.mean_length)
        for part in module.net.modules():
            if isinstance(part, Segment):
                part.gradient_checkpointing = self.recipe.run.gradient_checkpointing
        held = self.folder.done(phase)
        if held is not None:
            self.folder.restore(phase, module.net)
            info(self.console, f"  {phase}: done before")
            self.seconds[phase] = held["seconds"]
            return PhaseResult(module.net.eval(), held["tokens"], held["seconds"], self.task, held["flops"])
        started = time.monotonic()
        fit(module, streams(), phase, self.folder.checkpoints, self.machine, self.console, callbacks)
        seconds = time.monotonic() - started
        facts = {"tokens": module.tokens, "seconds": seconds, "steps": module.done, "flops": module.flops}
        self.folder.keep(phase, module.net, facts)
        self.seconds[phase] = seconds
        return PhaseResult(module.net, module.tokens, seconds, self.task, module.flops)

    def score(self, net: nn.Module, split: str, task: Task | None = None, **options: object) -> Score:
        """What `net` is worth on one split of the task, as it is read here or as `task` reads it."""
        task = task or self.task
        examples = getattr(task.splits(), split)
        result = score(net, examples, task.collate, self.recipe.run.eval_batch_size, self.machine.device, **options)
        net.to("cpu")
        return result
