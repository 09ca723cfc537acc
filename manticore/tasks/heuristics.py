"""Heuristic baselines: the accuracy of predicting a label from one cheap feature of the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE, Examples

Feature = Callable[[Examples], NDArray[np.int64]]
"""A function from examples to one integer for each label: for each example, or for each token."""


@dataclass(frozen=True)
class HeuristicAnswers:
    """The answers of a heuristic on the test split.

    Attributes:
        right: (answers,) whether each answer is right.
        owners: (answers,) index of the example that each answer belongs to.
    """

    right: NDArray[np.bool_]
    owners: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())


def heuristic_answers(train: Examples, test: Examples, feature: Feature) -> HeuristicAnswers:
    """Answer with the most frequent label in `train` among those with the same feature.

    Labels that are not scored are left out. Ties go to the smaller label. A feature value that `train` does not contain
    is answered with the most frequent label of all.
    """
    train_features, train_labels, _ = _scored(train, feature)
    test_features, test_labels, owners = _scored(test, feature)
    known, rows = np.unique(train_features, return_inverse=True)
    counts = np.zeros((len(known), train_labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (rows, train_labels), 1)
    nearest = np.searchsorted(known, test_features).clip(max=len(known) - 1)
    majority = np.bincount(train_labels).argmax()
    predictions = np.where(known[nearest] == test_features, counts.argmax(axis=1)[nearest], majority)
    return HeuristicAnswers(predictions == test_labels, owners)


def _scored(examples: Examples, feature: Feature) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Features, labels and examples of the labels that are scored."""
    scored = examples.labels != IGNORE
    index = np.arange(len(examples))
    owners = np.repeat(index, examples.lengths) if examples.per_token else index
    return feature(examples)[scored], examples.labels[scored].astype(np.int64), owners[scored]


def constant(examples: Examples) -> NDArray[np.int64]:
    """The same feature for every label, so that the prediction is the most frequent label."""
    return np.zeros(len(examples.labels), dtype=np.int64)


def same_token(examples: Examples) -> NDArray[np.int64]:
    """The token at which a label stands."""
    return examples.flat.astype(np.int64)


def same_position(examples: Examples) -> NDArray[np.int64]:
    """The position in the sequence at which a label stands, counted from 0."""
    return np.arange(len(examples.flat)) - np.repeat(examples.offsets[:-1], examples.lengths)
