"""`manticore evaluate`: score a hybrid or a component on the test split of a task."""

from __future__ import annotations

from rich.console import Console

from manticore.config.commands import EvaluateCommand
from manticore.config.loading import with_overrides
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_for_task
from manticore.export.own_task import own_task, task_options
from manticore.tasks.dataset import Examples
from manticore.tasks.task import Task
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
    test = _unseen(task, own_task(options.model, task_settings, model), console)
    result = score(model, test, task.collate, batch_size, hardware.device, metric)
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if options.json is not None:
        write_json(options.json, {"task": task.name, "split": "test", **result.to_dict()})
    return result


def _unseen(task: Task, own: Task | None, console: Console) -> Examples:
    """The test examples that the model was not trained or selected on, by its own task; all if there is none.

    Splits of another size or seed, and other data, may have examples that were in the training splits of the model.
    Raises ManticoreError if no example is left.
    """
    test = task.splits().test
    if own is None:
        return test
    splits = own.splits()
    seen = {key for part in (splits.train, splits.train_arch, splits.val) for key in part.fingerprints()}
    unseen = [index for index, key in enumerate(test.fingerprints()) if key not in seen]
    if len(unseen) == len(test):
        return test
    left_out = f"{len(test) - len(unseen):,} of the {len(test):,} test examples were trained or selected on"
    if not unseen:
        raise ManticoreError(f"{left_out}, so there is nothing to evaluate on; name other data")
    info(console, f"{left_out}, and are left out")
    return test.take(unseen)
