"""Train an exported hybrid further on a task, and export it again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from manticore.config.sections import RunOptions
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import check_same_options
from manticore.experiment.seeding import seed_of
from manticore.export.checkpoint import save_checkpoint
from manticore.export.load import read_hybrid
from manticore.pipelines.evaluate import check_fits, task_of
from manticore.report.model_card import finetuned_card
from manticore.tasks.dataset import concat
from manticore.tasks.options import TaskOptions
from manticore.training.batching import BatchSampler
from manticore.training.modules import LoopOptions, TrainModule
from manticore.training.options import WeightOptions
from manticore.training.scoring import score
from manticore.training.trainer import fit
from manticore.utils.console import info
from manticore.utils.io import write_json

OPTIONS_FILE = "finetune.json"
"""What a fine-tuning was asked to do; it is resumed with the same, or not at all."""

SCORED = 256
"""Sequences that are scored at once where nobody says how many fit."""


def run(
    hybrid: Path,
    options: TaskOptions,
    out: Path,
    steps: int,
    batch_size: int,
    weights: WeightOptions,
    seed: int,
    resume: bool,
    console: Console,
    micro_batch_size: int = 0,
) -> Path:
    """Train on the weights and alphas splits, score on the validation split, write `out/hybrid`.

    At most `micro_batch_size` sequences go through the model at once, 0 meaning a whole batch. Gradients add up to the
    same, so a fine-tuning may be resumed with another.

    Raises ManticoreError if `out` is taken, or the hybrid does not fit the task.
    """
    asked = {
        "hybrid": str(hybrid.resolve()),
        "task": asdict(options),
        "steps": steps,
        "batch_size": batch_size,
        "weights": asdict(weights),
        "seed": seed,
    }
    check_same_options(out / OPTIONS_FILE, asked, resume, "fine-tuning")
    if (out / "hybrid").exists():
        info(console, f"{out} is complete; nothing to do.")
        return out / "hybrid"
    machine = setup_hardware(RunOptions())
    model = read_hybrid(hybrid)
    task = task_of(hybrid, model, options)
    check_fits(model, task)
    splits = task.splits()
    stream = BatchSampler(
        concat([splits.train, splits.train_arch]), batch_size, seed_of(seed, "fine-tune"), task.collate
    )
    write_json(out / OPTIONS_FILE, asked)
    scored = micro_batch_size or SCORED
    before = score(model, splits.val, task.collate, scored, machine.device)
    torch.manual_seed(seed)
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    length = int(splits.train.lengths.mean() / task.sequences)
    module = TrainModule(model, weights, steps, LoopOptions(micro_batch_size, length=length))
    fit(module, {"weights": stream}, "fine-tune", out / "checkpoints", machine, console)
    after = score(model, splits.val, task.collate, scored, machine.device)
    info(
        console,
        f"{task.name} validation split: {before.format()} before, {after.format()} after "
        f"{steps} steps ({module.tokens:,} tokens)",
    )
    card = finetuned_card(hybrid, task.name, steps, batch_size, module.tokens, weights.lr, before, after)
    place = save_checkpoint(model.to("cpu"), task.hf_tokenizer(), out / "hybrid", card)
    (out / "checkpoints" / "fine-tune.ckpt").unlink(missing_ok=True)
    info(console, str(place))
    return place
