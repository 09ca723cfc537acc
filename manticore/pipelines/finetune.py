"""`manticore finetune`: train an exported hybrid further on a task and export it again."""

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
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.report.model_card import finetuned_card
from manticore.tasks.dataset import concat
from manticore.tasks.options import TaskOptions
from manticore.training.batching import BatchSampler
from manticore.training.metrics import metrics
from manticore.training.modules import LoopOptions, TrainModule
from manticore.training.options import WeightOptions
from manticore.training.scoring import score
from manticore.training.trainer import fit
from manticore.utils.console import info
from manticore.utils.io import write_json

OPTIONS_FILE = "finetune.json"
"""Options of the run; a fine-tuning can be resumed with the same options only."""

EVAL_BATCH_SIZE = 256
"""Sequences scored at once if no micro-batch size is set."""


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
    """Train on the train and train_arch splits, score on the validation split, and write `out/hybrid`.

    Args:
        hybrid: exported folder, or run folder.
        options: task and its data.
        out: folder of the run; must be empty unless `resume`.
        steps: number of optimizer steps.
        batch_size: sequences in a batch.
        weights: optimizer of the weights.
        seed: seed of the batches.
        resume: continue the fine-tuning in `out`.
        console: where to print.
        micro_batch_size: sequences in a forward pass; 0: the whole batch. Gradients are accumulated, so this does not
            change the result, and a fine-tuning can be resumed with another value.

    Raises ManticoreError if `out` is not empty, or if the hybrid cannot be loaded or does not fit the task.
    """
    settings = {
        "hybrid": str(hybrid.resolve()),
        "task": asdict(options),
        "steps": steps,
        "batch_size": batch_size,
        "weights": asdict(weights),
        "seed": seed,
    }
    check_same_options(out / OPTIONS_FILE, settings, resume, "fine-tuning")
    if (out / "hybrid").exists():
        info(console, f"{out} is complete; nothing to do.")
        return out / "hybrid"
    machine = setup_hardware(RunOptions())
    model = load_hybrid(hybrid)
    task = load_hybrid_task(hybrid, model, options)
    splits = task.splits()
    examples = concat([splits.train, splits.train_arch])
    sampler = BatchSampler(examples, batch_size, seed_of(seed, "fine-tune"), task.collate)
    write_json(out / OPTIONS_FILE, settings)

    eval_batch_size = micro_batch_size or EVAL_BATCH_SIZE
    before = score(model, splits.val, task.collate, eval_batch_size, machine.device, metrics[task.metric])
    torch.manual_seed(seed)
    length = int(splits.train.lengths.mean() / task.sequences)
    module = TrainModule(model, weights, steps, LoopOptions(micro_batch_size, length=length))
    fit(module, {"weights": sampler}, "fine-tune", out / "checkpoints", machine, console)
    after = score(model, splits.val, task.collate, eval_batch_size, machine.device, metrics[task.metric])
    info(
        console,
        f"{task.name} validation split: {before.format()} before, {after.format()} after "
        f"{steps} steps ({module.tokens:,} tokens)",
    )

    card = finetuned_card(hybrid, task.name, steps, batch_size, module.tokens, weights.lr, before, after)
    folder = save_checkpoint(model.to("cpu"), task.hf_tokenizer(), out / "hybrid", card)
    (out / "checkpoints" / "fine-tune.ckpt").unlink(missing_ok=True)
    info(console, str(folder))
    return folder
