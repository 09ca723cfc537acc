"""Trials of the sizes of MoRe under a parameter budget, as its paper searches them, with early stopping.

Every size of all layers is trained for a few steps of the schedule of the fine-tuning, the better half is kept and
trained further, and so on (successive halving, arXiv 1502.07943). Trials are trained on the split `train` and compared
on `train_arch`. The winner, the fixed size 4 x 4, and LoRA with as many parameters and with as large a rank are then
fine-tuned in full, and scored on the validation split.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from transformers import PreTrainedModel

from manticore.adapters.attach import attach, base_weight, targets
from manticore.adapters.base import adapter_options
from manticore.adapters.more import MoRe, MoReOptions
from manticore.adapters.more_trials import TrialOptions
from manticore.adapters.options import AdapterOptions
from manticore.config.sections import FinetuneOptions, RunOptions
from manticore.errors import ManticoreError, NonFiniteLoss
from manticore.experiment.path_search import read_checkpoint
from manticore.experiment.seeding import seed_of
from manticore.nas.strategies.halving import rounds
from manticore.results.training import FinetuneScores
from manticore.tasks.task import Task
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from manticore.training.options import LoopOptions
from manticore.training.scoring import score
from manticore.training.trainer import Hardware, fit
from manticore.utils.console import info
from manticore.utils.io import read_json, write_json

TRIALS_FILE = "adapter_trials.json"
"""File of a fine-tuning with the losses of the trials, and the scores of the sizes that were trained in full."""

FIXED = (4, 4)
"""Blocks and rank of the paper's default."""

BlocksAndRank = tuple[int, int]


class TrainRow(Protocol):
    """Fine-tunes with an adapter into a folder, or continues there."""

    def __call__(self, adapter: AdapterOptions, out: Path) -> FinetuneScores: ...


@dataclass
class SizeTrials:
    """The trials of one fine-tuning.

    Attributes:
        load: returns the hybrid and its task.
        adapter: the section `adapter` of the fine-tuning.
        training, run, hardware: the fine-tuning.
        out: its folder.
        record: the plain data of `TRIALS_FILE`.
    """

    load: Callable[[], tuple[PreTrainedModel, Task]]
    adapter: AdapterOptions
    training: FinetuneOptions
    run: RunOptions
    hardware: Hardware
    out: Path
    console: Console
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> TrialOptions:
        """The options of the trials."""
        assert self.adapter.name is not None
        options: TrialOptions = adapter_options(self.adapter.name, self.adapter.options)
        return options

    def more(self, size: BlocksAndRank) -> AdapterOptions:
        """The adapter of a trial."""
        options = {"blocks": size[0], "rank": size[1]}
        return AdapterOptions("more", self.adapter.targets, options, self.adapter.freeze)

    def lora(self, rank: int) -> AdapterOptions:
        """LoRA on the same layers."""
        return AdapterOptions("lora", self.adapter.targets, {"rank": rank}, self.adapter.freeze)

    def select(self, sizes: Sequence[BlocksAndRank]) -> BlocksAndRank:
        """The size that is left at the end."""
        plan = rounds(len(sizes), self.options.steps or self.training.steps)
        kept, steps = list(sizes), 0
        for number, (_, more) in enumerate(plan):
            steps = min(self.training.steps, steps + more)
            losses = {size: self.loss(size, steps) for size in kept}
            kept = sorted(kept, key=lambda size: losses[size])
            kept = kept[: plan[number + 1][0] if number + 1 < len(plan) else 1]
        self.record["selected"] = list(kept[0])
        self._save()
        return kept[0]

    def within_budget(self) -> list[BlocksAndRank]:
        """The sizes to try. Raises ManticoreError if none is within the budget, or there are too few steps for them."""
        model, _ = self.load()
        parameters: dict[BlocksAndRank, int] = {}
        limit = self.options.max_parameters or math.inf
        for blocks, rank in self.options.configurations:
            size = MoReOptions(blocks, rank)
            try:
                layers, _ = targets(model, self.more((blocks, rank)), size)
            except ManticoreError as error:
                if "adapter.options.blocks" not in str(error):
                    raise
                continue
            shapes = [base_weight(layer).shape for layer in layers.values()]
            parameters[blocks, rank] = sum(MoRe(torch.empty(shape, device="meta"), size).trained for shape in shapes)
        fitting = {size: count for size, count in parameters.items() if count <= limit}
        if not fitting:
            smallest = f"the smallest needs {min(parameters.values()):,}" if parameters else "all have too many blocks"
            raise ManticoreError(f"no size of adapter.options.configurations is within the budget: {smallest}")
        self.record["parameters"] = {_name(size): count for size, count in parameters.items()}
        dropped = [_name(size) for size in parameters if size not in fitting]
        note = f"; over the budget: {', '.join(dropped)}" if dropped else ""
        info(self.console, f"trials of {len(fitting)} sizes{note}")
        needed, steps = len(fitting) * math.ceil(math.log2(len(fitting))), self.options.steps or self.training.steps
        if steps < needed:
            raise ManticoreError(
                f"trials of {len(fitting)} sizes need {needed} steps, and adapter.options.steps is {steps}"
            )
        return list(fitting)

    def loss(self, size: BlocksAndRank, steps: int) -> float:
        """The loss on `train_arch` after `steps` steps in all; infinite if the training diverged."""
        known = self.record.setdefault("losses", {}).setdefault(_name(size), {})
        if str(steps) in known:
            return math.inf if known[str(steps)] is None else float(known[str(steps)])
        value = self._train(size, steps)
        known[str(steps)] = value if math.isfinite(value) else None
        self._save()
        info(self.console, f"  {_name(size)}: {steps} steps, loss {value:.4f}")
        return value

    def _train(self, size: BlocksAndRank, steps: int) -> float:
        model, task = self.load()
        torch.manual_seed(seed_of(self.run.seed, "adapter"))
        attach(model, self.more(size))
        splits, training = task.splits(), self.training
        sampler = BatchSampler(splits.train, training.batch_size, seed_of(self.run.seed, "fine-tune"), task.collate)
        torch.manual_seed(self.run.seed)
        loop = LoopOptions(self.run.micro_batch_size, self.run.gradient_checkpointing, self.run.log_every)
        module = TrainModule(model, training.weights, training.steps, loop)
        module.until = steps
        folder, title = self.out / "trials" / "checkpoints", _name(size)
        checkpoint = folder / f"{title}.ckpt"
        state = read_checkpoint(checkpoint) if checkpoint.exists() else None
        if state is not None and state["manticore"]["step_count"] == steps:  # stopped before it was scored
            module.load_state_dict(state["state_dict"])
        else:
            try:
                fit(module, {"weights": sampler}, title, folder, self.hardware, Console(quiet=True))
            except NonFiniteLoss:
                return math.inf
        with self.hardware.scoring():
            batch_size = self.run.micro_batch_size or self.run.eval_batch_size
            return score(model, splits.train_arch, task.collate, batch_size, self.hardware.device).loss

    def compare(self, size: BlocksAndRank, train: TrainRow) -> Path:
        """Fine-tune with the selected size and, as baselines, others in full. Returns the folder of the first."""
        rows = {f"trials {_name(size)}": self.more(size)}
        if self.options.baselines:
            if size != FIXED:
                rows[f"fixed {_name(FIXED)}"] = self.more(FIXED)
            rows[f"lora {size[1]}, equal parameters"] = self.lora(size[1])
            if size[0] > 1:
                rows[f"lora {size[0] * size[1]}, equal rank"] = self.lora(size[0] * size[1])
        self.record["rows"] = {}
        for name, adapter in rows.items():
            folder = self.out / "trials" / name.replace(", ", "-").replace(" ", "-")
            scores = train(adapter, folder)
            self.record["rows"][name] = {"score": scores.after.value, "before": scores.before.value}
            info(self.console, f"  {name}: {scores.metric.format(scores.after.value)}")
            self._save()
        return self.out / "trials" / f"trials-{_name(size)}"

    def _save(self) -> None:
        write_json(self.out / TRIALS_FILE, self.record)


def run_trials(trials: SizeTrials, sizes: Sequence[BlocksAndRank], train: TrainRow) -> FinetuneScores:
    """Select one of the sizes by trials, fine-tune with it, and copy the result into the folder of the fine-tuning."""
    if (trials.out / TRIALS_FILE).exists():
        trials.record |= read_json(trials.out / TRIALS_FILE)
    best = trials.compare(trials.select(sizes), train)
    shutil.copytree(best / "hybrid", trials.out / "hybrid", dirs_exist_ok=True)
    shutil.copyfile(best / FinetuneScores.FILE, trials.out / FinetuneScores.FILE)
    return FinetuneScores.load(trials.out)


def _name(size: BlocksAndRank) -> str:
    return f"{size[0]}x{size[1]}"
