"""Searches that train paths by themselves: their training, and the start of the fine-tuning of the selected path.

Every path is trained as the fine-tuning trains: from the components, on the same batches in the same order, with the
same schedule. So a path that was trained for n steps equals the hybrid on it after n steps of fine-tuning, and the
fine-tuning of the selected path continues from its checkpoint.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.console import Console

from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError, NonFiniteLoss
from manticore.experiment.budget import path_budget
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.objective import Objective
from manticore.experiment.projectors import build_aligned_supernet, calibration_tokens
from manticore.experiment.seeding import seed_torch
from manticore.experiment.teacher import teacher_loss
from manticore.nas.choices import PathNames
from manticore.nas.discretize import discretize, load_path
from manticore.nas.selection import Budget, Difference, runner_up
from manticore.nas.selection.trial_paths import paths_to_try
from manticore.nas.strategies.path_training import PathStrategy
from manticore.nas.supernet import Supernet
from manticore.results.codec import ResultFile
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from manticore.training.trainer import fit
from manticore.utils.arrays import read_arrays
from manticore.utils.console import info
from manticore.utils.io import atomic_write, slug
from manticore.utils.path_text import path_text

SELECTED_ALPHA = 10.0
"""Alpha of the candidates of the selected path, in units of the temperature; those of the others are 0."""


@dataclass(frozen=True)
class TrainedPath:
    """A path after some steps of training of its own.

    Attributes:
        path: a candidate for each stage.
        steps: training steps in all.
        loss: the objective of the selection, in nats: the loss on the validation split, with that of recall where the
            recipe has it; None: the training diverged.
        tokens, flops: of these steps.
    """

    path: tuple[str, ...]
    steps: int
    loss: float | None
    tokens: int
    flops: float


@dataclass(frozen=True)
class Comparison:
    """The difference of the validation losses of two paths, `path` minus `rival`, after the same number of steps.

    Attributes:
        difference: in nats, paired over the examples; None where it is not known.
    """

    path: tuple[str, ...]
    rival: tuple[str, ...]
    steps: int
    difference: Difference | None


@dataclass(frozen=True)
class TrainedPaths(ResultFile):
    """The paths that a search has trained, in their order. A path that was trained further has several records.

    Attributes:
        records: of paths.
        comparisons: the comparisons of two paths that the search has made.
    """

    FILE: ClassVar[str] = "paths.json"
    FORMAT: ClassVar[int] = 1

    records: tuple[TrainedPath, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def last(self) -> dict[tuple[str, ...], TrainedPath]:
        """The last record of each path."""
        return {record.path: record for record in self.records}


def max_search_steps(recipe: Recipe) -> int:
    """Largest number of training steps of a search of paths, in batches of the fine-tuning."""
    return recipe.search.steps * recipe.search.batch_size // recipe.finetune.batch_size


def check_path_search(exp: Experiment, net: Supernet, strategy: PathStrategy) -> None:
    """Raise ManticoreError if a strategy that trains paths cannot do so within the steps of the recipe.

    `net` may be on the meta device.
    """
    space = exp.space
    if strategy.needs_base_path and (lacking := space.stage_without([net.base])) is not None:
        raise ManticoreError(
            f"{exp.recipe.search.strategy} compares paths with the base model alone, and '{net.base}' is no candidate "
            f"of stage {lacking[0]}; add it in stage_candidates, or search with --strategy halving"
        )
    schedule(exp, strategy, net, _paths(exp, net, path_budget(exp)))


def _paths(exp: Experiment, net: Supernet, budget: Budget) -> list[PathNames]:
    """The paths that are tried: the same in the check before a run and in its search."""
    return paths_to_try(net, budget, random.Random(exp.seed("selection")))


def schedule(exp: Experiment, strategy: PathStrategy, net: Supernet, paths: Sequence[PathNames]) -> int:
    """The step at which the fine-tuning of the selected path ends; its steps in the search count.

    Raises ManticoreError if a path would be trained for more steps.
    """
    max_steps = max_search_steps(exp.recipe)
    plan = strategy.plan(net.choices, paths, max_steps)
    steps = max_steps + exp.recipe.finetune.steps - plan.discarded
    if plan.longest > steps:
        raise ManticoreError(
            f"the search trains paths for {plan.longest} steps, and leaves {steps} for the selected one; "
            "set search.steps lower, or finetune.steps higher"
        )
    return steps


def search_paths(
    exp: Experiment, base: str, strategy: PathStrategy, streams: Mapping[str, BatchSampler], phase: str
) -> PhaseResult[Supernet]:
    """The search of a strategy that trains paths.

    Args:
        exp: the run.
        base: the base model.
        strategy: determines which paths are trained for how long.
        streams: the batches of the fine-tuning.
        phase: name of the fine-tuning, which continues from the checkpoint of the selected path.

    Returns the supernet with the weights of the selected path, the scores, and the step at which its fine-tuning ends.
    """
    started = time.monotonic()
    net = build_aligned_supernet(exp, base, "softmax", "search")
    budget = path_budget(exp)
    paths = _paths(exp, net, budget)
    steps = schedule(exp, strategy, net, paths)
    trainer = CheckpointedPathTrainer(exp, net, steps, streams)
    scores = strategy.search(net.choices, base, paths, max_search_steps(exp.recipe), trainer)
    path = tuple(scores.best(net, budget))
    if (rival := runner_up(scores, net, budget, path)) is not None:
        trainer.compare(path, rival)  # now, as long as the losses of the examples are there
    last = trainer.saved.last
    kept = last.pop(path, None) if strategy.keeps_training else None
    result = exp.finished("search", net)
    if result is None:
        net.set_alphas(SELECTED_ALPHA * net.temperature * net.one_hot(path))
        if kept is not None:
            trainer.start_phase(phase, kept)
        tokens = calibration_tokens(exp, base) + sum(record.tokens for record in last.values())
        flops = sum(record.flops for record in last.values())
        seconds = time.monotonic() - started
        result = exp.keep("search", net, tokens, seconds, sum(record.steps for record in last.values()), flops)
    shutil.rmtree(trainer.folder, ignore_errors=True)
    kept_tokens = 0 if kept is None else kept.tokens
    return replace(result, path_scores=scores, compare=trainer.compare, finetune_steps=steps, kept_tokens=kept_tokens)


class CheckpointedPathTrainer:
    """Trains paths for a strategy, and resumes where it was stopped.

    Args:
        exp: the run.
        net: the supernet with the untrained components.
        steps: of the learning rate's schedule.
        streams: batches by name.
    """

    def __init__(self, exp: Experiment, net: Supernet, steps: int, streams: Mapping[str, BatchSampler]) -> None:
        self.exp, self.net, self.steps, self.streams = exp, net, steps, streams
        root = exp.run_dir.root
        self.folder = root / "paths"
        self.objective = Objective(exp)
        self.saved = TrainedPaths.load(root) if (root / TrainedPaths.FILE).exists() else TrainedPaths(())

    def loss(self, path: Sequence[str], steps: int) -> float:
        """The validation loss of a path after `steps` steps in all; see `PathTrainer`."""
        for record in self.saved.records:
            if record.path == tuple(path) and (record.steps == steps or record.loss is None):
                return math.inf if record.loss is None else record.loss
        record = self._train(tuple(path), steps)
        self._save(replace(self.saved, records=(*self.saved.records, record)))
        return math.inf if record.loss is None else record.loss

    def _save(self, saved: TrainedPaths) -> None:
        self.saved = saved
        saved.save(self.exp.run_dir.root)

    def difference(self, path: PathNames, rival: PathNames, steps: int) -> Difference | None:
        """The difference of two paths after `steps` steps in all; see `PathTrainer`."""
        for known in self.saved.comparisons:
            if (known.path, known.rival, known.steps) == (path, rival, steps):
                return known.difference
        files = [self._losses(each, steps) for each in (path, rival)]
        value = self.objective.difference(*map(_read_losses, files)) if all(file.exists() for file in files) else None
        comparison = Comparison(path, rival, steps, value)
        self._save(replace(self.saved, comparisons=(*self.saved.comparisons, comparison)))
        return value

    def compare(self, path: PathNames, rival: PathNames) -> Difference | None:
        """The difference of two paths, or else of the base with each of their choices where the two differ.

        None if these paths have not been trained for the same number of steps.
        """
        differ = [own != name for own, name in zip(path, rival, strict=True)]
        single = [
            tuple(name if is_other else self.net.base for name, is_other in zip(each, differ, strict=True))
            for each in (path, rival)
        ]
        last = self.saved.last
        for first, second in ((path, rival), (single[0], single[1])):
            if first in last and second in last and last[first].steps == last[second].steps:
                return self.difference(first, second, last[first].steps)
        return None

    def _train(self, path: PathNames, steps: int) -> TrainedPath:
        exp, checkpoint = self.exp, self._checkpoint(path)
        seed_torch(exp.recipe.run.seed, "phase", "path")
        options, divergence = exp.recipe.finetune.weights, teacher_loss(exp)
        module = TrainModule(self._hybrid(path), options, self.steps, exp.loop(), loss=divergence)
        module.until = steps
        state = read_checkpoint(checkpoint) if checkpoint.exists() else None
        if state is not None and state["manticore"]["step_count"] == steps:  # stopped before it was scored
            module.load_state_dict(state["state_dict"])
            module.on_load_checkpoint(state)
        else:
            try:
                fit(
                    module,
                    self.streams,
                    checkpoint.stem,
                    checkpoint.parent,
                    exp.hardware,
                    Console(quiet=True),
                    user=exp.user,
                )
            except NonFiniteLoss:
                info(exp.console, f"  {path_text(path)}: diverged within {steps} steps")
                return TrainedPath(path, module.step_count, None, module.tokens, module.flops)
        measured = self.objective.measure(module.net.eval())
        with atomic_write(self._losses(path, steps)) as part, part.open("wb") as file:
            np.savez(file, *measured.losses)
        score, recall = measured.text, f" · {measured.summary}" if measured.recall else ""
        info(
            exp.console,
            f"  {path_text(path)}: {steps} steps · validation {score.format()}, loss {score.loss:.3f}{recall}",
        )
        loss = measured.value if math.isfinite(measured.value) else None
        return TrainedPath(path, steps, loss, module.tokens, module.flops)

    def start_phase(self, phase: str, record: TrainedPath) -> None:
        """Make the checkpoint and the logs of a path those of a phase, and copy its weights into the supernet.

        Raises BadFile if its checkpoint is gone.
        """
        checkpoint = self._checkpoint(record.path)
        if not checkpoint.exists():
            raise BadFile(
                checkpoint,
                f"the selected path has no saved state; delete {TrainedPaths.FILE} to train the paths again",
            )
        with atomic_write(self.exp.run_dir.checkpoints / f"{slug(phase)}.ckpt") as part:
            shutil.copyfile(checkpoint, part)
        self._copy_logs(checkpoint.stem, slug(phase))
        model = self._hybrid(record.path)
        state = read_checkpoint(checkpoint)["state_dict"]
        model.load_state_dict({key.removeprefix("net."): value for key, value in state.items()})
        load_path(self.net, model)

    def _copy_logs(self, name: str, phase: str) -> None:
        """Make the logs of a path, and of its resumptions `NAME.2`, `NAME.3`, the first ones of a phase."""
        for logs in (self.folder / "logs").glob("*/*"):
            stem, dot, number = logs.name.partition(".")
            if stem == name:
                target = self.exp.run_dir.root / "logs" / logs.parent.name / f"{phase}{dot}{number}"
                shutil.copytree(logs, target, dirs_exist_ok=True)

    def _hybrid(self, path: Sequence[str]) -> Any:
        return discretize(self.net, path, **self.exp.task.config_fields())

    def _checkpoint(self, path: Sequence[str]) -> Path:
        return self.folder / "checkpoints" / f"path-{self._code(path)}.ckpt"

    def _losses(self, path: Sequence[str], steps: int) -> Path:
        """The losses of the examples of the validation split."""
        return self.folder / "losses" / f"path-{self._code(path)}-{steps}.npz"

    def _code(self, path: Sequence[str]) -> str:
        """The indices of the candidates of a path, for the names of its files."""
        return "-".join(str(self.net.candidates.index(name)) for name in path)


def _read_losses(file: Path) -> list[Any]:
    """The parts of `Measured.losses`. Raises BadFile."""
    try:
        return [*read_arrays(file).values()]
    except BadFile as error:
        raise BadFile(file, f"{str(error).removeprefix(f'{file}: ')}; delete it to go on without it") from None


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The checkpoint of a training. Raises BadFile if it is damaged."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise different ones
        raise BadFile(file, f"damaged ({type(error).__name__}); without it the path is trained again") from None
    return state
