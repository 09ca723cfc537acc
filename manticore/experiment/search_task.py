"""The task of a search alone: the task of the run with other settings, such as shorter sequences.

Paths differ only after models have begun to learn. Where that takes most of the training, a search with a fraction of
it ranks noise; on an easier variant of the task the same number of tokens suffices.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.tasks.catalog import load_task
from manticore.tasks.dataset import Examples, Splits
from manticore.tasks.options import format_settings
from manticore.tasks.task import Task


def load_search_task(recipe: Recipe, task: Task) -> Task:
    """The task `recipe.task` as `search.shorter_sequences` and `search.task_settings` change it.

    It has no inputs that `task` evaluates on.

    Raises ManticoreError if a setting is wrong, or if models of `task` cannot read or label the sequences.
    """
    shorter = task.shorter_settings() if recipe.search.shorter_sequences else {}
    settings = {**recipe.task.settings, **shorter, **recipe.search.task_settings}
    variant = load_task(replace(recipe.task, name=f"{recipe.task.bare_name}@{format_settings(settings)}"))
    if task.is_language_modeling:
        variant = variant.with_tokenizer(task.tokenizer)
    if (variant.vocabulary, variant.head_spec, variant.label_names) != (
        task.vocabulary,
        task.head_spec,
        task.label_names,
    ):
        raise ManticoreError(
            f"search.task_settings: {variant.name} has another vocabulary or other labels than {task.name}, so the "
            "same models cannot be trained on both; change lengths only"
        )
    if variant.max_length > task.max_length:
        raise ManticoreError(
            f"search.task_settings: {variant.name} has sequences of up to {variant.max_length} tokens, "
            f"longer than the {task.max_length} of {task.name}"
        )
    seen = {*task.splits().val.fingerprints(), *task.splits().test.fingerprints()}
    splits = vars(variant.splits())
    kept = {name: _without(splits[name], seen) for name in ("train", "train_arch", "val")}
    for name, examples in kept.items():
        if not examples:
            raise ManticoreError(
                f"search.task_settings: all sequences of {variant.name} in {name} are among those that {task.name} "
                "evaluates on; take other lengths"
            )
    return variant.with_splits(Splits(**kept, test=splits["test"]))


def _without(examples: Examples, seen: AbstractSet[bytes]) -> Examples:
    kept = [index for index, fingerprint in enumerate(examples.fingerprints()) if fingerprint not in seen]
    return examples if len(kept) == len(examples) else examples.take(kept)
