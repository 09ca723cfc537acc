"""`manticore finetune`: train an exported hybrid further on a task and export it again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from manticore.config.commands import FinetuneCommand
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import check_same_options
from manticore.experiment.seeding import seed_of
from manticore.export.checkpoint import save_checkpoint
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.report.model_card import finetuned_card
from manticore.tasks.dataset import concat
from manticore.training.batching import BatchSampler
from manticore.training.metrics import metrics
from manticore.training.modules import LoopOptions, TrainModule
from manticore.training.scoring import score
from manticore.training.trainer import fit
from manticore.utils.console import info
from manticore.utils.io import write_json

OPTIONS_FILE = "finetune.json"
"""Options of the run; a fine-tuning can be resumed with the same options only."""


def run(options: FinetuneCommand, console: Console) -> Path:
    """Train on the train and train_arch splits, score on the validation split, and write `out/hybrid`.

    A fine-tuning can be resumed with another `run.micro_batch_size`: gradients are accumulated, so it does not change
    the result.

    Raises ManticoreError if `options.out` is not empty, or if the hybrid cannot be loaded or does not fit the task.
    """
    out, training, run_options = options.out, options.finetune, options.run
    settings = {
        "hybrid": str(options.hybrid.resolve()),
        "task": asdict(options.task),
        "steps": training.steps,
        "batch_size": training.batch_size,
        "weights": asdict(training.weights),
        "seed": run_options.seed,
    }
    check_same_options(out / OPTIONS_FILE, settings, options.resume, "fine-tuning")
    if (out / "hybrid").exists():
        info(console, f"{out} is complete; nothing to do.")
        return out / "hybrid"
    machine = setup_hardware(run_options)
    model = load_hybrid(options.hybrid, options.trust_code)
    task = load_hybrid_task(options.hybrid, model, options.task)
    splits = task.splits()
    examples = concat([splits.train, splits.train_arch])
    sampler = BatchSampler(examples, training.batch_size, seed_of(run_options.seed, "fine-tune"), task.collate)
    write_json(out / OPTIONS_FILE, settings)

    eval_batch_size = run_options.micro_batch_size or run_options.eval_batch_size
    before = score(model, splits.val, task.collate, eval_batch_size, machine.device, metrics[task.metric])
    torch.manual_seed(run_options.seed)
    length = int(splits.train.lengths.mean() / task.sequences)
    loop = LoopOptions(run_options.micro_batch_size, length=length)
    module = TrainModule(model, training.weights, training.steps, loop)
    fit(module, {"weights": sampler}, "fine-tune", out / "checkpoints", machine, console)
    after = score(model, splits.val, task.collate, eval_batch_size, machine.device, metrics[task.metric])
    info(
        console,
        f"{task.name} validation split: {before.format()} before, {after.format()} after "
        f"{training.steps} steps ({module.tokens:,} tokens)",
    )

    steps, batch_size, lr = training.steps, training.batch_size, training.weights.lr
    card = finetuned_card(options.hybrid, task.name, steps, batch_size, module.tokens, lr, before, after)
    folder = save_checkpoint(model.to("cpu"), task.hf_tokenizer(), out / "hybrid", card)
    (out / "checkpoints" / "fine-tune.ckpt").unlink(missing_ok=True)
    info(console, str(folder))
    return folder
