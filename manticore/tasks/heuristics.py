"""Heuristic baselines: the accuracy of predicting a label from one cheap feature of the input. Knows no task."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE, Examples

Feature = Callable[[Examples], NDArray[np.int64]]
"""A function from examples to one integer for each label: for each example, or for each token."""


def heuristic_accuracy(train: Examples, test: Examples, feature: Feature) -> float:
    """Test accuracy of predicting the most frequent label in `train` among those with the same feature.

    Labels that are not scored are left out. Ties go to the smaller label. A feature value that `train` does not contain
    is answered with the most frequent label of all.
    """
    train_features, train_labels = _scored(train, feature)
    test_features, test_labels = _scored(test, feature)
    known, rows = np.unique(train_features, return_inverse=True)
    counts = np.zeros((len(known), train_labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (rows, train_labels), 1)
    nearest = np.searchsorted(known, test_features).clip(max=len(known) - 1)
    majority = np.bincount(train_labels).argmax()
    predictions = np.where(known[nearest] == test_features, counts.argmax(axis=1)[nearest], majority)
    return float((predictions == test_labels).mean())


def _scored(examples: Examples, feature: Feature) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Features and labels of the labels that are scored."""
    scored = examples.labels != IGNORE
    return feature(examples)[scored], examples.labels[scored].astype(np.int64)


def constant(examples: Examples) -> NDArray[np.int64]:
    """The same feature for every label, so that the prediction is the most frequent label."""
    return np.zeros(len(examples.labels), dtype=np.int64)


def same_token(examples: Examples) -> NDArray[np.int64]:
    """The token at which a label stands."""
    return examples.flat.astype(np.int64)


def same_position(examples: Examples) -> NDArray[np.int64]:
    """The position in the sequence at which a label stands, counted from 0."""
    return np.arange(len(examples.flat)) - np.repeat(examples.offsets[:-1], examples.lengths)
