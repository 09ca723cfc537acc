"""Regularizers: terms added to the loss of the alphas, computed from mixing weights and progress alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from manticore.utils.registry import Registry
from manticore.utils.transfers import numbers_on


class Regularizer(Protocol):
    """A penalty on the mixing weights, in the unit of the loss (nats)."""

    def __call__(self, weights_SK: Tensor, progress: float) -> Tensor:
        """The penalty, a scalar that is differentiable in the weights.

        Args:
            weights_SK: mixing weights, (S, K).
            progress: share of the search that is done after the warm-up, 0 to 1.
        """
        ...


regularizers: Registry[Callable[[float, str], Regularizer]] = Registry("regularizer")
"""Functions from the recipe's `search.entropy_weight` and `search.entropy_schedule` to a regularizer."""


@regularizers.register("entropy")
@dataclass(frozen=True)
class EntropyPenalty:
    """`weight * sum_s schedule_s(progress) H(w_s)`, with H the normalized entropy of a stage's mixing weights.

    With a rising weight it drives the mixture to a path. A falling temperature does not: the best mixture stays the
    same, and the alphas shrink along with the temperature.
    """

    weight: float
    schedule: str

    def __call__(self, weights_SK: Tensor, progress: float) -> Tensor:
        entropy_S = entropy(weights_SK)
        shares_S = _shares(entropy_S, progress, self.schedule)
        return self.weight * (entropy_S * shares_S).sum()


@regularizers.register("polarization")
@dataclass(frozen=True)
class PolarizationPenalty:
    """`weight * sum_s schedule_s(progress) P(w_s)`, with `P(w) = 1 - sum_(j < k) |w_j - w_k| / (K - 1)`.

    P is 1 at uniform and 0 at one-hot, and pushes every pair of unequal weights apart with the same strength, where the
    slope of the entropy vanishes near uniform and grows without bound near one-hot. For two candidates it is the
    polarization term `t |w|_1 - |w - mean(w)|_1` of Zhuang et al. (NeurIPS 2020), whose first part is constant on the
    simplex, up to scale. For more candidates that term leaves two weights above the mean as they are, so all pairs are
    taken here.
    """

    weight: float
    schedule: str

    def __call__(self, weights_SK: Tensor, progress: float) -> Tensor:
        spread_S = polarization(weights_SK)
        shares_S = _shares(spread_S, progress, self.schedule)
        return self.weight * (spread_S * shares_S).sum()


def _shares(values_S: Tensor, progress: float, schedule: str) -> Tensor:
    """The factors of `entropy_schedule` for the stages, (S,), on the device and in the type of `values_S`."""
    return numbers_on(entropy_schedule(len(values_S), progress, schedule), values_S.device, values_S.dtype)


def polarization(weights_SK: Tensor) -> Tensor:
    """`1 - sum_(j < k) |w_j - w_k| / (K - 1)` of the mixing weights of each stage, (S,)."""
    pairs_SKK = (weights_SK[..., None] - weights_SK[..., None, :]).abs()
    return 1 - pairs_SKK.sum((-2, -1)) / (2 * (weights_SK.shape[-1] - 1))


def entropy(weights_SK: Tensor) -> Tensor:
    """Entropy of the mixing weights of each stage, (S,), divided by log K: 1 at uniform, 0 at one-hot.

    It stays below 1 at a stage that does not have all K candidates.
    """
    total: Tensor = torch.special.entr(weights_SK).sum(-1)
    return total / math.log(weights_SK.shape[-1])


def entropy_schedule(stages: int, progress: float, schedule: str) -> list[float]:
    """Share of the full weight that the entropy of each stage has at `progress`, 0 to 1.

    `uniform`: the same at every stage. `stagewise`: it rises from 0 to 1 at one stage after the other, first to last.
    A stage is trained on the output of the stages before it. As long as those are mixtures, its training is a poor
    indicator of the quality of its candidates after discretization.
    """
    if schedule == "uniform":
        return [progress] * stages
    return [min(1.0, max(0.0, progress * stages - stage)) for stage in range(stages)]
