"""`manticore evaluate`: score an exported hybrid on the test split of a task."""

from __future__ import annotations

from rich.console import Console

from manticore.config.commands import EvaluateCommand
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.training.metrics import metrics
from manticore.training.scoring import Score, score
from manticore.utils.console import info
from manticore.utils.io import write_json


def run(options: EvaluateCommand, console: Console) -> Score:
    """Score a hybrid, print the score and return it.

    Raises ManticoreError if the folder has no hybrid, or if the task does not fit it; see `load_hybrid_task`.
    """
    if options.json is not None and options.json.is_dir():
        raise ManticoreError(f"{options.json} is a folder; --json needs a file")
    machine = setup_hardware(options.run)
    model = load_hybrid(options.hybrid, options.trust_code)
    task = load_hybrid_task(options.hybrid, model, options.task)
    batch_size, metric = options.run.eval_batch_size, metrics[task.metric]
    result = score(model, task.splits().test, task.collate, batch_size, machine.device, metric)
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if options.json is not None:
        write_json(options.json, {"task": task.name, "split": "test", **result.to_dict()})
    return result
