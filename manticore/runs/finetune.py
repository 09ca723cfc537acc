"""Train an exported hybrid further on a task, and export it again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from manticore.files import write_json
from manticore.recipe import RunOptions
from manticore.runs.evaluate import check_fits, task_of, told
from manticore.runs.export import export
from manticore.runs.folder import check_asked
from manticore.runs.hybrids import read_hybrid
from manticore.runs.machine import prepare
from manticore.runs.wording import tokenizer
from manticore.runs.workshop import join, seed_of
from manticore.tasks.base import TaskOptions
from manticore.training.data import Stream
from manticore.training.fit import fit
from manticore.training.modules import TrainModule
from manticore.training.optim import WeightOptions
from manticore.training.scoring import score

ASKED = "finetune.json"
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
    """Train on the weights and alphas splits, score on the model-choice split, write `out/hybrid`.

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
    check_asked(out / ASKED, asked, resume, "fine-tuning")
    if (out / "hybrid").exists():
        console.print(f"{out} is complete; nothing to do.", highlight=False, soft_wrap=True)
        return out / "hybrid"
    machine = prepare(RunOptions())
    model = read_hybrid(hybrid)
    task = task_of(hybrid, model, options)
    check_fits(model, task)
    splits = task.splits()
    stream = Stream(join([splits.weights, splits.alphas]), batch_size, seed_of(seed, "fine-tune"), task.collate)
    write_json(out / ASKED, asked)
    scored = micro_batch_size or SCORED
    before = score(model, splits.choice, task.collate, scored, machine.device)
    torch.manual_seed(seed)
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    module = TrainModule(model, weights, steps)
    module.micro_batch_size = micro_batch_size
    fit(module, {"weights": stream}, "fine-tune", out / "checkpoints", machine, console)
    after = score(model, splits.choice, task.collate, scored, machine.device)
    console.print(
        f"{task.name} model-choice split: {told(before)} before, {told(after)} after "
        f"{steps} steps ({module.tokens:,} tokens)",
        highlight=False,
        soft_wrap=True,
    )
    card = hybrid_card(hybrid) + (
        f"\n## Fine-tuned further\n\n{steps} steps of {batch_size} sequences ({module.tokens:,} tokens) "
        f"on {task.name}, peak learning rate {weights.lr:g}: "
        f"on the model-choice split {before.words} → {after.words}.\n"
    )
    place = export(model.to("cpu"), tokenizer(task), out / "hybrid", card)
    (out / "checkpoints" / "fine-tune.ckpt").unlink(missing_ok=True)
    console.print(str(place), highlight=False, soft_wrap=True)
    return place


def hybrid_card(given: Path) -> str:
    """The card of an exported hybrid, empty if it has none."""
    for file in (given / "README.md", given / "hybrid" / "README.md"):
        if file.exists():
            return file.read_text(encoding="utf-8")
    return ""
