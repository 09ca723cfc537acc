"""A chain fitted to scores of paths: a term for each candidate at each stage and one for every two neighbours."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from manticore.components.spec import SKIP
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
    return _chain(choices, terms_F, float(mean))


COUNT, STAGE, PAIR, NOISE = 1.0, 1.0, 1.0, 0.1
"""Standard deviations of the terms of a chain before any score is known, and of the noise of a score, in those of the
known scores: of a candidate wherever it runs, of a candidate at one stage, and of two neighbours."""

UNLIKE = 1.0
"""Mean of the term of two different neighbours before any score is known, in the same unit; those of equal neighbours
and of neighbours that are skipped have mean 0. Hybrids in turns are expected to be better than blocks of one kind."""


@dataclass(frozen=True)
class ChainPosterior:
    """Bayesian linear regression of scores on the terms of a chain: a normal distribution of all terms.

    Attributes:
        choices: of the search space.
        mean: of the terms, (F,).
        factor: a square root of their covariance, (F, F).
        shift, scale: mean and standard deviation of the known scores, by which scores were standardized.
    """

    choices: Choices
    mean: NDArray[np.float64]
    factor: NDArray[np.float64]
    shift: float
    scale: float

    @classmethod
    def of(cls, choices: Choices, scores: dict[PathNames, float]) -> ChainPosterior:
        """The posterior given scores of one or more paths. A stage term is the sum of one of the candidate wherever it
        runs and one of its own, so stages that are not known are expected to be like the others; different neighbours
        are expected to be better than equal ones."""
        targets_N = np.array([*scores.values()])
        shift, scale = float(targets_N.mean()), float(targets_N.std()) or 1.0
        features_NF = np.stack([_features(choices, path) for path in scores])
        prior_F, prior_FF = _prior(choices)
        cross_NF = features_NF @ prior_FF
        kernel_NN = cross_NF @ features_NF.T + NOISE**2 * np.eye(len(targets_N))
        gain_FN = np.linalg.solve(kernel_NN, cross_NF).T
        covariance_FF = prior_FF - gain_FN @ cross_NF
        values_F, vectors_FF = np.linalg.eigh((covariance_FF + covariance_FF.T) / 2)
        factor_FF = vectors_FF * np.sqrt(values_F.clip(0))
        mean_F = prior_F + gain_FN @ ((targets_N - shift) / scale - features_NF @ prior_F)
        return cls(choices, mean_F, factor_FF, shift, scale)

    def draw(self, rng: random.Random) -> ChainScores:
        """A chain from the posterior, in the unit of the scores."""
        noise_F = np.array([rng.gauss(0, 1) for _ in self.mean])
        return _chain(self.choices, self.scale * (self.mean + self.factor @ noise_F), self.shift)


def _prior(choices: Choices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the terms of a chain before any score is known."""
    stages, count = choices.stages, len(choices.candidates)
    single = np.kron(np.full((stages, stages), COUNT**2) + STAGE**2 * np.eye(stages), np.eye(count))
    pairs = (stages - 1) * count * count
    prior_FF = PAIR**2 * np.eye(len(single) + pairs)
    prior_FF[: len(single), : len(single)] = single
    runs_K = np.array([name != SKIP for name in choices.candidates])
    unlike_KK = UNLIKE * np.outer(runs_K, runs_K) * (1 - np.eye(count))
    return np.concatenate([np.zeros(len(single)), np.tile(unlike_KK.ravel(), stages - 1)]), prior_FF


def _chain(choices: Choices, terms_F: NDArray[np.float64], mean: float) -> ChainScores:
    """The chain of its terms and the mean score, which is spread over the stages."""
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
