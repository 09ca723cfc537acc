"""Paths are scored by the validation loss that they have with the weights of the supernet, each alone.

Of a small space all paths are evaluated (SPOS, arXiv 1904.00420, section 3.1). Of a large one a sample is, and a chain
is fitted to its losses: a term for each candidate at each stage and one for every two neighbours, by ridge regression.
The best path of the chain is then found exactly by dynamic programming. LINAS (arXiv 2112.10330) does the same with an
evolutionary search over a predictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from manticore.components.spec import SKIP
from manticore.nas.choices import Choices
from manticore.nas.cost import PathCosts
from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.scores import ChainScores, ListedScores, PathNames, PathScores
from manticore.nas.supernet import Supernet

EVALUATIONS = 64
"""Number of paths that are evaluated; all, if there are no more."""

RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Coefficients of the squared terms of the chain; the one with the smallest leave-one-out error is taken."""


@selectors.register("evaluated")
def evaluated_paths(supernet: Supernet, context: SelectionContext) -> PathScores:
    """Minus the validation loss of each path, or of the chain that is fitted to those of a sample."""
    choices, costs = supernet.choices, PathCosts(supernet, context.budget.length)
    if choices.count <= EVALUATIONS:
        paths = [path for path in choices.paths() if context.budget.allows(costs, path) and set(path) != {SKIP}]
        return ListedScores({path: -context.val_loss(path=path) for path in paths})
    sample: dict[PathNames, float] = {}
    while len(sample) < EVALUATIONS:
        path = tuple(choices.random_path(context.rng))
        if path not in sample:
            sample[path] = -context.val_loss(path=path)
    return fit_chain(choices, sample)


def fit_chain(choices: Choices, scores: dict[PathNames, float]) -> ChainScores:
    """The chain with the least squared error on scored paths and small terms (ridge regression)."""
    features_NF = np.stack([_features(choices, path) for path in scores])
    targets_N = np.array([*scores.values()])
    mean = targets_N.mean()

    def solve(ridge: float) -> tuple[float, NDArray[np.float64]]:
        """Leave-one-out error, and the terms."""
        inverse_FF = np.linalg.inv(features_NF.T @ features_NF + ridge * np.eye(features_NF.shape[1]))
        terms_F = inverse_FF @ features_NF.T @ (targets_N - mean)
        leverage_N = np.einsum("nf,fg,ng->n", features_NF, inverse_FF, features_NF)
        residuals_N = (targets_N - mean - features_NF @ terms_F) / (1 - leverage_N)  # as if left out of the fit
        return float((residuals_N**2).mean()), terms_F

    _, terms_F = min(map(solve, RIDGES), key=lambda solved: solved[0])
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
