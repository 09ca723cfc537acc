"""Score an exported hybrid on a task's test split."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.components.context_length import TASK_ADVICE, check_context_length, hybrid_context_lengths
from manticore.components.tokenizers import check_vocab_size, read_tokenizer
from manticore.config.loading import fit_to_context
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import RunDir
from manticore.export.load import kind_of, read_hybrid
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.tasks.catalog import load_task
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.training.scoring import Score, score
from manticore.utils.console import info
from manticore.utils.io import write_json


def run(hybrid: Path, options: TaskOptions, batch_size: int, json: Path | None, console: Console) -> Score:
    """Print and return loss and accuracy on the test split.

    Raises ManticoreError if the folder holds no hybrid, or one for other tokens or labels than the task's.
    """
    if json is not None and json.is_dir():
        raise ManticoreError(f"{json} is a folder; --json needs a file")
    machine = setup_hardware(RunOptions())
    model = read_hybrid(hybrid)
    task = task_of(hybrid, model, options)
    check_fits(model, task)
    result = score(model, task.splits().test, task.collate, batch_size, machine.device)
    info(console, f"{task.name} test: {result.format()}, loss {result.loss:.4f} nats, {result.count:,} examples")
    if json is not None:
        write_json(json, {"task": task.name, "split": "test", **result.to_dict()})
    return result


def task_of(hybrid: Path, model: PreTrainedModel, options: TaskOptions) -> Task:
    """The task as a hybrid reads it: text by the tokenizer in its folder, no more at once than it has positions for.

    Raises ManticoreError if it has none, or the task is not as it needs.
    """
    task = load_task(fit_to_context(options, hybrid_context_lengths(model.config).values()))
    if not task.is_language_modeling:
        return task
    folder = RunDir(hybrid).hybrid if RunDir(hybrid).hybrid.is_dir() else hybrid
    return task.with_tokenizer(read_tokenizer(str(folder), {"local_files_only": True}), owner=str(folder))


def check_fits(model: PreTrainedModel, task: Task) -> None:
    """Raises ManticoreError unless a hybrid's vocabulary, labels and head are the task's."""
    config: HybridConfig = model.config
    vocab_size, labels = config.vocab_size, config.num_labels
    if task.is_language_modeling:
        check_vocab_size(task.tokenizer, vocab_size, "this hybrid")
    elif vocab_size != task.vocabulary.size or labels != task.num_labels:
        raise ManticoreError(
            f"this hybrid reads {vocab_size} token ids and has {labels} labels; "
            f"{task.name} has {task.vocabulary.size} and {task.num_labels}"
        )
    if kind_of(model) != task.kind:
        raise ManticoreError(f"this hybrid has the head of kind '{kind_of(model)}'; {task.name} needs '{task.kind}'")
    check_context_length(hybrid_context_lengths(config), task.max_length, f"a sequence of {task.name}", TASK_ADVICE)
