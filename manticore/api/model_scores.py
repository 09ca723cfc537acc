"""Scores of `manticore evaluate` that are not those of a task of this package: by generation, and of the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from manticore.api.arguments import model_source
from manticore.config.commands import EvaluateCommand
from manticore.config.flags import EVALUATE, EVALUATE_OTHERS, argument_name, assignments, command_options
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.pipelines import generation_scores, harness_scores
from manticore.pipelines.generation_scores import GenerationScore
from manticore.pipelines.harness_scores import HarnessResults
from manticore.utils.console import make_console


def evaluate_generation(
    model: Any,
    *,
    lengths: Sequence[int] = EvaluateCommand.lengths,
    examples: int = EvaluateCommand.examples,
    batch_size: int = RunOptions.eval_batch_size,
    set: Mapping[str, Any] | Sequence[str] = EvaluateCommand.overrides,
    json: Path | str | None = EvaluateCommand.json,
    trust_code: bool = EvaluateCommand.trust_code,
    quiet: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[GenerationScore]:
    """Score how much of its context a language model reproduces: copying, recall and pairs, by what it generates.

    Args:
        model: a run folder, an exported folder, a result, a component by name or folder, a model object, or a pair of
            one and its tokenizer. Of a hybrid in a folder its parents are scored too, and its card gets the table.
        lengths: tokens of the prompts; those beyond a model's context are left out for it.
        examples: number of prompts of a kind and length.
        batch_size: most prompts in a batch; the scores do not depend on it.
        set: any keys of the section run, as a mapping or as `KEY=VALUE`.
        json: file for the scores.
        trust_code: run the code in the hybrid's folder for ops and other parts that this process does not have.
        quiet: print nothing.
        tokenizer: of a model object.

    Returns a score for each model, kind and length.
    """
    arguments = {**locals(), "set": assignments(set), "generation": True}
    with model_source(model, tokenizer) as name:
        return generation_scores.run(_options(arguments, name), make_console(quiet))


def evaluate_lm_eval(
    model: Any,
    tasks: Sequence[str],
    *,
    folder: Path | str | None = EvaluateCommand.lm_eval_folder,
    limit: int | None = EvaluateCommand.limit,
    batch_size: int = RunOptions.eval_batch_size,
    set: Mapping[str, Any] | Sequence[str] = EvaluateCommand.overrides,
    json: Path | str | None = EvaluateCommand.json,
    trust_code: bool = EvaluateCommand.trust_code,
    quiet: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> HarnessResults:
    """Score a language model on tasks of lm-evaluation-harness, which the extra `eval` installs.

    Args:
        model: as in `evaluate_generation`. The card of a hybrid in a folder gets the results.
        tasks: names of tasks, such as `["arc_easy", "lambada_openai"]`.
        folder: folder with more tasks, as YAML files.
        limit: largest number of examples of a task.
        batch_size: most examples in a batch.
        set: any keys of the section run, as a mapping or as `KEY=VALUE`.
        json: file for the results.
        trust_code: run the code in the hybrid's folder for ops and other parts that this process does not have.
        quiet: print nothing.
        tokenizer: of a model object.

    Returns by task what the harness reports: `{"arc_easy": {"acc,none": 0.25, "acc_stderr,none": 0.01, ...}}`.
    """
    names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if not names:
        raise ManticoreError("tasks is empty; it has names of tasks of lm-evaluation-harness, such as 'arc_easy'")
    more = {"set": assignments(set), "lm_eval": names, "lm_eval_folder": folder}
    with model_source(model, tokenizer) as name:
        return harness_scores.run(_options({**locals(), **more}, name), make_console(quiet))


def _options(arguments: Mapping[str, Any], model: str) -> EvaluateCommand:
    """The options of the command from the arguments of a function here; those that it does not have are defaults."""
    table = {**EVALUATE, **EVALUATE_OTHERS}
    return command_options(
        EvaluateCommand, table, {**dict.fromkeys(map(argument_name, table)), **arguments, "model": model}
    )
