"""`manticore evaluate`: score a hybrid or a component on the test split of a task."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from transformers import PreTrainedModel

from manticore.config.commands import EvaluateCommand
from manticore.config.loading import with_overrides
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_for_examples, load_for_task
from manticore.export.own_task import language_options, own_task, task_options
from manticore.tasks.dataset import Examples
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.training.metrics import metrics
from manticore.training.scoring import Score, score
from manticore.training.trainer import Hardware
from manticore.utils.console import info
from manticore.utils.fields import from_mapping
from manticore.utils.io import write_json


def run(options: EvaluateCommand, console: Console) -> Score:
    """Score a model, print the score and return it. The task is the model's own, unless another is named.

    Raises ManticoreError if there is no such model, or if the task does not fit it; see `load_for_task`.
    """
    options = with_overrides(options)
    task_settings = task_options(options.model, options.task)
    hardware = setup_hardware(options.run)
    model, task = load_for_task(options.model, task_settings, options.trust_code)
    own = own_task(options.model, task_settings, model)
    test = task.splits().test
    unseen = _unseen(test, own)
    if len(unseen) < len(test):
        left_out = f"{len(test) - len(unseen):,} of the {len(test):,} test examples were trained or selected on"
        if not len(unseen):
            raise ManticoreError(f"{left_out}, so there is nothing to evaluate on; name other data")
        info(console, f"{left_out}, and are left out")
    return _score(model, task, unseen, options, hardware, console)


def run_on(items: Any, options: EvaluateCommand, console: Console) -> Score:
    """Score a model on all of the given examples, and print how many of them it was trained or selected on.

    Args:
        items: texts or labelled examples, as `mc.task` takes them.
        options: model, machine and output; of the task, `preset` sets the length of chunks of text and `test` the
            number of examples.

    Raises as `load_for_examples` does, and ManticoreError for other keys of a task.
    """
    options = with_overrides(options)
    if unused := sorted(set(options.task) - {"preset", "test"}):
        raise ManticoreError(f"'{unused[0]}' selects the data of a task, and all examples of a list are scored")
    keys = from_mapping(TaskOptions, options.task, "recipe key", "task.")
    text_options = language_options(options.model, options.task)
    hardware = setup_hardware(options.run)
    model, task = load_for_examples(options.model, items, text_options, options.trust_code)
    test = task.splits().test
    if keys.test is not None:
        test = test.take(range(min(keys.test, len(test))))
    own = own_task(options.model, None, model)
    if own is not None and own.kind == task.kind:
        task.metric = own.metric
    if seen := len(test) - len(_unseen(test, own)):
        info(console, f"{seen:,} of the {len(test):,} examples were trained or selected on, so the score is optimistic")
    return _score(model, task, test, options, hardware, console)


def _score(
    model: PreTrainedModel, task: Task, test: Examples, options: EvaluateCommand, hardware: Hardware, console: Console
) -> Score:
    """Score a model on examples of a task, print the score and write it where the options say."""
    batch_size, metric = options.run.eval_batch_size, metrics[task.metric]
    with hardware.scoring():
        result = score(model, test, task.collate, batch_size, hardware.device, metric)
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if options.json is not None:
        write_json(options.json, {"task": task.name, "split": "test", **result.to_dict()})
    return result


def _unseen(test: Examples, own: Task | None) -> Examples:
    """The test examples that the model was not trained or selected on, by its own task; all if that is not known.

    Splits of another size or seed, and other data, may have examples that were in the training splits of the model.
    """
    if own is None:
        return test
    splits = own.splits()
    seen = {key for part in (splits.train, splits.train_arch, splits.val) for key in part.fingerprints()}
    unseen = [index for index, key in enumerate(test.fingerprints()) if key not in seen]
    return test if len(unseen) == len(test) else test.take(unseen)
