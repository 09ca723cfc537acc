"""Score an exported hybrid on a task's test split."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.errors import ManticoreError
from manticore.files import write_json
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.recipe import RunOptions
from manticore.runs.hybrids import kind_of, reaches, read_hybrid
from manticore.runs.machine import prepare
from manticore.tasks.base import Task, TaskOptions
from manticore.tasks.catalog import load_task
from manticore.training.scoring import Score, score


def run(hybrid: Path, options: TaskOptions, batch_size: int, json: Path | None, console: Console) -> Score:
    """Print and return loss and accuracy on the test split.

    Raises ManticoreError if the folder holds no hybrid, or one for other tokens or labels than the task's.
    """
    machine = prepare(RunOptions())
    model = read_hybrid(hybrid)
    task = load_task(options)
    check_fits(model, task)
    result = score(model, task.splits().test, task.collate, batch_size, machine.device)
    console.print(
        f"{task.name} test: accuracy {result.accuracy:.1%} ± {result.margin:.1%}, loss {result.loss:.4f} nats, "
        f"{result.count:,} examples",
        highlight=False,
        soft_wrap=True,
    )
    if json is not None:
        write_json(json, {"task": task.name, "split": "test", **result.to_dict()})
    return result


def check_fits(model: PreTrainedModel, task: Task) -> None:
    """Raises ManticoreError unless a hybrid's vocabulary, labels and head are the task's."""
    config: HybridConfig = model.config
    vocab_size, labels = config.vocab_size, config.num_labels
    if vocab_size != task.vocabulary.size or labels != task.num_labels:
        raise ManticoreError(
            f"this hybrid reads {vocab_size} token ids and has {labels} labels; "
            f"{task.name} has {task.vocabulary.size} and {task.num_labels}"
        )
    if kind_of(model) != task.kind:
        raise ManticoreError(f"this hybrid has the head of kind '{kind_of(model)}'; {task.name} needs '{task.kind}'")
    absolute = {name for name, held in config.components.items() if held["anatomy"]["positions"] is not None}
    reach = min((limit for name, limit in reaches(config).items() if name in absolute), default=task.max_length)
    if reach < task.max_length:
        raise ManticoreError(f"this hybrid has {reach} positions; {task.name} has up to {task.max_length} tokens")
