"""How the components compare on the documents of the validation split, before anything is trained."""

from __future__ import annotations

import numpy as np

from manticore.experiment.experiment import Experiment
from manticore.experiment.objective import selection_examples
from manticore.experiment.phases import matched_steps
from manticore.tasks.dataset import Examples
from manticore.utils.module_state import eval_mode

CLEAR = 0.95
"""If one component is better on at least this share of the documents, a hybrid is unlikely to be better than it."""

SHARE, MOST_SEQUENCES = 0.01, 64
"""Largest cost of a comparison before a search, as a share of the training of a component, and in sequences."""

LEAST_DOCUMENTS, SEQUENCES = 8, 2
"""Documents, unless there are fewer, and sequences of each, below which a comparison says too little."""


def component_notes(exp: Experiment, most: int | None = None) -> list[str]:
    """Sentences on how the components compare on the documents of the validation split, and a warning if one wins.

    Components from scratch cannot be compared before they are trained.

    Args:
        exp: the run.
        most: largest number of sequences that each component reads, the first ones of documents at even distances.
            None: those that paths are evaluated on.
    """
    if not exp.task.is_language_modeling or not all(component.pretrained for component in exp.components):
        return [
            "which component is better on which part of the data is not known before training: they start untrained"
        ]
    bits: dict[str, list[float]] = {}
    for name in exp.space.names:
        own, model = exp.for_component(name), exp.component(name).model
        examples = selection_examples(own) if most is None else first_sequences(own.task.splits().val, most)
        if examples is None:
            return ["which component is better on which documents: manticore plan compares them"]
        with eval_mode(model):
            scored = own.score_examples(model, examples)
        bits[name] = [each / size for each, size in scored.documents or ()]
    counts = {len(values) for values in bits.values()}
    if len(counts) != 1 or not min(counts):
        return []
    number = counts.pop()
    wins = dict.fromkeys(bits, 0)
    for index in range(number):
        wins[min(bits, key=lambda name: bits[name][index])] += 1
    shares = ", ".join(f"{name} on {wins[name]} of {number}" for name in wins)
    sample = "" if most is None else " (the start of each; manticore plan reads all)"
    notes = [f"fewer bits per byte before training, by document of the validation split: {shares}{sample}"]
    best = max(wins, key=lambda name: wins[name])
    if number > 1 and wins[best] >= CLEAR * number:
        notes.append(f"warning: {best} is better nearly everywhere, so a hybrid is unlikely to be better than it alone")
    return notes


def affordable_sequences(exp: Experiment) -> int:
    """Sequences that a component may read before a search: `SHARE` of the passes of its training, at most 64."""
    passes = 3 * matched_steps(exp.recipe, exp.search_length) * exp.recipe.finetune.batch_size
    return min(MOST_SEQUENCES, int(SHARE * passes))


def first_sequences(examples: Examples, most: int) -> Examples | None:
    """The first sequences of documents at even distances, `most` at most, or None if these are too few to compare.

    The documents are the same for every tokenizer.
    """
    groups = np.arange(len(examples)) if examples.groups is None else examples.groups
    documents = np.unique(groups)
    number = min(len(documents), most // SEQUENCES)
    if number < min(LEAST_DOCUMENTS, len(documents)):
        return None
    chosen = documents[np.arange(number) * len(documents) // number]
    return examples.take(index for document in chosen for index in np.flatnonzero(groups == document)[: most // number])
