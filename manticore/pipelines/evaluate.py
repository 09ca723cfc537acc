"""`manticore evaluate`: score an exported hybrid on the test split of a task."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.tasks.options import TaskOptions
from manticore.training.metrics import metrics
from manticore.training.scoring import Score, score
from manticore.utils.console import info
from manticore.utils.io import write_json


def run(hybrid: Path, options: TaskOptions, batch_size: int, json: Path | None, console: Console) -> Score:
    """Score a hybrid, print the score and return it.

    Args:
        hybrid: exported folder, or run folder.
        options: task and its data.
        batch_size: sequences scored at once.
        json: file to write the score to.
        console: where to print.

    Raises ManticoreError if the folder has no hybrid, or if the task does not fit it; see `load_hybrid_task`.
    """
    if json is not None and json.is_dir():
        raise ManticoreError(f"{json} is a folder; --json needs a file")
    machine = setup_hardware(RunOptions())
    model = load_hybrid(hybrid)
    task = load_hybrid_task(hybrid, model, options)
    result = score(model, task.splits().test, task.collate, batch_size, machine.device, metrics[task.metric])
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if json is not None:
        write_json(json, {"task": task.name, "split": "test", **result.to_dict()})
    return result
