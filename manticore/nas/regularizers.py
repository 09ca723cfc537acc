"""Regularizers: terms added to the loss of the alphas, computed from mixing weights and progress alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from manticore.utils.registry import Registry


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
        shares_S = entropy_S.new_tensor(entropy_schedule(len(entropy_S), progress, self.schedule))
        return self.weight * (entropy_S * shares_S).sum()


def entropy(weights_SK: Tensor) -> Tensor:
    """Entropy of the mixing weights of each stage, (S,), divided by log K: 1 at uniform, 0 at one-hot.

    It stays below 1 at a stage that does not have all K candidates.
    """
    total: Tensor = torch.special.entr(weights_SK).sum(-1)
    return total / math.log(weights_SK.shape[-1])


def entropy_schedule(stages: int, progress: float, schedule: str) -> list[float]:
    """Share of the full weight that the entropy of each stage has at `progress`, 0 to 1.

    `uniform`: the same at every stage. `stagewise`: it rises from 0 to 1 at one stage after the other, first to last.
    A stage is trained on the output of the stages before it. As long as those are mixtures, its training says little
    about how good its candidates are after discretization.
    """
    if schedule == "uniform":
        return [progress] * stages
    return [min(1.0, max(0.0, progress * stages - stage)) for stage in range(stages)]
