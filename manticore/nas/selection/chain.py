"""A chain fitted to scores of paths: a term for each candidate at each stage and one for every two neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.scores import ChainScores

RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Ridge penalties of the chain; the one with the smallest leave-one-out error is used."""


def fit_chain(choices: Choices, scores: dict[PathNames, float]) -> ChainScores:
    """The chain with the least squared error on scored paths and small terms (ridge regression)."""
    features_NF = np.stack([_features(choices, path) for path in scores])
    targets_N = np.array([*scores.values()])
    mean = targets_N.mean()

    def solve(ridge: float) -> tuple[float, NDArray[np.float64]]:
        """Leave-one-out error (the mean is not left out), and the terms."""
        inverse_FF = np.linalg.inv(features_NF.T @ features_NF + ridge * np.eye(features_NF.shape[1]))
        terms_F = inverse_FF @ features_NF.T @ (targets_N - mean)
        leverage_N = np.einsum("nf,fg,ng->n", features_NF, inverse_FF, features_NF)
        residuals_N = (targets_N - mean - features_NF @ terms_F) / (1 - leverage_N)  # as if left out of the fit
        return float((residuals_N**2).mean()), terms_F

    _, terms_F = min(map(solve, RIDGES), key=lambda solution: solution[0])
    stages, count = choices.stages, len(choices.candidates)
    single_SK, pair = terms_F[: stages * count].reshape(stages, count), terms_F[stages * count :]
    single_SK = single_SK + mean / stages  # every path has one candidate a stage
    return ChainScores(choices.candidates, single_SK.tolist(), pair.reshape(stages - 1, count, count).tolist())


def _features(choices: Choices, path: Sequence[str]) -> NDArray[np.float64]:
    """One-hot codes of the candidates of a path, then of its neighbouring pairs."""
    chosen, count = [choices.candidates.index(name) for name in path], len(choices.candidates)
    code = np.zeros(choices.stages * count + (choices.stages - 1) * count * count)
    for stage, index in enumerate(chosen):
        code[stage * count + index] = 1
    for stage, (first, second) in enumerate(pairwise(chosen)):
        code[choices.stages * count + (stage * count + first) * count + second] = 1
    return code
