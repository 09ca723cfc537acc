"""Score an exported hybrid on a task's test split."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from manticore.errors import ManticoreError
from manticore.files import write_json
from manticore.recipe import RunOptions
from manticore.runs.hybrids import read_hybrid
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
    check_fits(model.config, task)
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


def check_fits(config: object, task: Task) -> None:
    """Raises ManticoreError unless a hybrid's vocabulary and labels are the task's."""
    vocab_size, labels = getattr(config, "vocab_size", None), getattr(config, "num_labels", None)
    if vocab_size != task.vocabulary.size or labels != task.num_labels:
        raise ManticoreError(
            f"this hybrid reads {vocab_size} token ids and has {labels} labels; "
            f"{task.name} has {task.vocabulary.size} and {task.num_labels}"
        )
