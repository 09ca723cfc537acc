"""`manticore evaluate`: score a hybrid or a component on the test split of a task."""

from __future__ import annotations

from rich.console import Console

from manticore.config.commands import EvaluateCommand
from manticore.config.loading import with_overrides
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_for_task
from manticore.export.own_task import task_options
from manticore.training.metrics import metrics
from manticore.training.scoring import Score, score
from manticore.utils.console import info
from manticore.utils.io import write_json


def run(options: EvaluateCommand, console: Console) -> Score:
    """Score a model, print the score and return it. The task is the model's own, unless another is named.

    Raises ManticoreError if there is no such model, or if the task does not fit it; see `load_for_task`.
    """
    options = with_overrides(options)
    task_settings = task_options(options.model, options.task)
    hardware = setup_hardware(options.run)
    model, task = load_for_task(options.model, task_settings, options.trust_code)
    batch_size, metric = options.run.eval_batch_size, metrics[task.metric]
    result = score(model, task.splits().test, task.collate, batch_size, hardware.device, metric)
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if options.json is not None:
        write_json(options.json, {"task": task.name, "split": "test", **result.to_dict()})
    return result
