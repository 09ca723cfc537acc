"""Searches that train paths by themselves: which paths are tried, their training, and what the fine-tuning starts from.

Every path is trained as the fine-tuning trains: from the components, on the same batches in the same order, with a
schedule as long as that of the hybrid. So a path that was trained for n steps is the hybrid on it after n steps of
fine-tuning, and the fine-tuning of the selected path goes on from there.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from manticore.components.spec import SKIP
from manticore.experiment.budget import path_budget
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.projectors import build_aligned_supernet, calibration_tokens
from manticore.experiment.seeding import seed_torch
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize, load_path
from manticore.nas.selection import Budget
from manticore.nas.selection.scores import PathNames
from manticore.nas.strategies.path_training import PathStrategy
from manticore.nas.supernet import Supernet
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from manticore.training.trainer import fit
from manticore.utils.console import info
from manticore.utils.fields import from_mapping
from manticore.utils.io import read_json, slug, write_json

MOST = 64
"""Most paths that are tried. Of a larger space a sample is, with each component alone among them."""

CERTAIN = 10.0
"""Alpha of the candidates of the selected path, for the record; those of the others are 0."""


@dataclass(frozen=True)
class TrainedPath:
    """A path after some steps of training of its own, as `paths.json` in the run folder has it.

    Attributes:
        path: a candidate for each stage.
        steps: training steps in all.
        loss: on the validation split, in nats.
        tokens, flops: of these steps.
    """

    path: tuple[str, ...]
    steps: int
    loss: float
    tokens: int
    flops: float


def search_paths(
    exp: Experiment, base: str, strategy: PathStrategy, steps: int, streams: Mapping[str, BatchSampler], phase: str
) -> PhaseResult[Supernet]:
    """The search of a strategy that trains paths.

    Args:
        exp: the run.
        base: the base model.
        strategy: says how long which path is trained.
        steps: of search and fine-tuning together, in batches of the fine-tuning.
        streams: the batches of the fine-tuning.
        phase: name of the fine-tuning, which goes on from the checkpoint of the selected path.

    Returns the supernet with the weights of the selected path, its scores and the steps that its fine-tuning ends at.
    """
    started = time.monotonic()
    options, batch_size = exp.recipe.search, exp.recipe.finetune.batch_size
    net = build_aligned_supernet(exp, base, "softmax", "search")
    budget = path_budget(exp)
    paths = paths_to_try(net, budget, random.Random(exp.seed("selection")))
    most = options.steps * options.batch_size // batch_size
    schedule = steps - strategy.discarded_steps(net.choices, paths, most)
    trainer = PathTrainings(exp, net, schedule, streams)
    scores = strategy.search(net.choices, base, paths, most, trainer)
    path = tuple(scores.best(net, budget))
    spent = [record for record in trainer.ends() if record.path != path or not strategy.keeps_training]
    record = exp.run_dir.finished_phase("search")
    if record is not None:
        exp.run_dir.restore("search", net)
        result = PhaseResult(net.eval(), record["tokens"], record["seconds"], exp.task, record["flops"])
    else:
        net.set_alphas(CERTAIN * net.one_hot(path))
        if strategy.keeps_training:
            trainer.hand_over(path, phase)
        tokens, flops = sum(record.tokens for record in spent), sum(record.flops for record in spent)
        seconds = time.monotonic() - started
        result = exp.keep("search", net, tokens, seconds, sum(record.steps for record in spent), flops)
    shutil.rmtree(trainer.folder, ignore_errors=True)
    return replace(result, path_scores=scores, finetune_steps=schedule)


def paths_to_try(net: Supernet, budget: Budget, rng: random.Random) -> list[PathNames]:
    """All paths within the budget; of a large space a sample of `MOST`, and each component alone."""
    choices, costs = net.choices, PathCosts(net, budget.length)

    def allowed(path: PathNames) -> bool:
        return set(path) != {SKIP} and budget.allows(costs, path)

    if choices.count <= MOST:
        return [path for path in choices.paths() if allowed(path)]
    alone = ((name,) * choices.stages for name in net.components)
    kept = {path: None for path in alone if all(path[0] in choices.names(stage) for stage in range(choices.stages))}
    tries = 0
    while len(kept) < MOST and tries < 100 * MOST:
        kept[tuple(choices.random_path(rng))] = None
        tries += 1
    return [path for path in kept if allowed(path)]


class PathTrainings:
    """Trains paths for a strategy, and resumes where it was stopped.

    Args:
        exp: the run.
        net: the supernet with the untrained components.
        schedule: steps of the learning rate's schedule.
        streams: batches by name.
    """

    def __init__(self, exp: Experiment, net: Supernet, schedule: int, streams: Mapping[str, BatchSampler]) -> None:
        self.exp, self.net, self.schedule, self.streams = exp, net, schedule, streams
        self.folder = exp.run_dir.root / "paths"
        self.file = exp.run_dir.root / "paths.json"
        saved = read_json(self.file) if self.file.exists() else []
        self.records = [from_mapping(TrainedPath, record) for record in saved]

    def loss(self, path: Sequence[str], steps: int) -> float:
        """The validation loss of a path after `steps` steps in all; see `PathTrainer`."""
        for record in self.records:
            if record.path == tuple(path) and record.steps == steps:
                return record.loss
        exp = self.exp
        seed_torch(exp.recipe.run.seed, "phase", "path")
        model = discretize(self.net, path, **exp.task.config_fields())
        module = TrainModule(
            model, exp.recipe.finetune.weights, self.schedule, exp.loop(calibration_tokens(exp, self.net.base))
        )
        module.until = steps
        title = self._checkpoint(path).stem
        fit(module, self.streams, title, self.folder, exp.hardware, Console(quiet=True), user=exp.user)
        score = exp.score(module.net, "val")
        info(exp.console, f"  {' · '.join(path)}: {steps} steps · validation {score.format()}, loss {score.loss:.3f}")
        self.records.append(TrainedPath(tuple(path), steps, score.loss, module.tokens, module.flops))
        write_json(self.file, [asdict(record) for record in self.records])
        return score.loss

    def ends(self) -> list[TrainedPath]:
        """The last record of each path."""
        return list({record.path: record for record in self.records}.values())

    def hand_over(self, path: Sequence[str], phase: str) -> None:
        """Make the training of a path the begin of a phase, and copy its weights into the supernet."""
        checkpoint = self._checkpoint(path)
        if not checkpoint.exists():  # the only path, which was not trained
            return
        target = self.exp.run_dir.checkpoints / f"{slug(phase)}.ckpt"
        if not target.exists():
            shutil.copyfile(checkpoint, part := target.with_suffix(".part"))
            part.replace(target)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        model = discretize(self.net, path, **self.exp.task.config_fields())
        model.load_state_dict({key.removeprefix("net."): value for key, value in state.items()})
        load_path(self.net, model)

    def _checkpoint(self, path: Sequence[str]) -> Path:
        """The checkpoint of a path, named by the indices of its candidates."""
        return self.folder / f"path-{'-'.join(str(self.net.candidates.index(name)) for name in path)}.ckpt"
