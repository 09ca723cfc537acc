"""What answers are worth that come from looking at next to nothing. Knows no task and no model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE, Examples

Feature = Callable[[Examples], NDArray[np.int64]]


def heuristic_accuracy(train: Examples, test: Examples, cue: Feature) -> float:
    """Test accuracy of answering with the label that was commonest in `train` where the cue was the same.

    A cue is one integer for each label: for each example, or for each token. Labels that are not scored are left out.
    Ties go to the smaller label; a cue never seen in `train` is answered with the commonest label of all.
    """
    cues, labels = _scored(train, cue)
    asked, right = _scored(test, cue)
    known, places = np.unique(cues, return_inverse=True)
    table = np.zeros((len(known), labels.max() + 1), dtype=np.int64)
    np.add.at(table, (places, labels), 1)
    nearest = np.searchsorted(known, asked).clip(max=len(known) - 1)
    majority = np.bincount(labels).argmax()
    answers = np.where(known[nearest] == asked, table.argmax(axis=1)[nearest], majority)
    return float((answers == right).mean())


def _scored(examples: Examples, cue: Feature) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cues and labels where there is something to score."""
    scored = examples.labels != IGNORE
    return cue(examples)[scored], examples.labels[scored].astype(np.int64)


def constant(examples: Examples) -> NDArray[np.int64]:
    """The cue that tells nothing: what is left is the commonest label."""
    return np.zeros(len(examples.labels), dtype=np.int64)


def same_token(examples: Examples) -> NDArray[np.int64]:
    """The cue of each token's label that is the token itself."""
    return examples.flat.astype(np.int64)


def same_place(examples: Examples) -> NDArray[np.int64]:
    """The cue of each token's label that is its place in the sequence, counted from 0."""
    return np.arange(len(examples.flat)) - np.repeat(examples.offsets[:-1], examples.lengths)
