"""Terms added to the loss of the alphas. They know mixing weights and progress, nothing of models."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(weights_SK: Tensor) -> Tensor:
    """Entropy of the mixing weights of each stage, (S,), in units of its largest value: 1 at uniform, 0 at a choice.

    Added to the alphas' loss with a rising weight it drives the mixture to a path. A falling temperature does not: the
    best mixture stays where it is, and the alphas shrink along with the temperature.
    """
    total: Tensor = torch.special.entr(weights_SK).sum(-1)
    return total / math.log(weights_SK.shape[-1])


def entropy_schedule(stages: int, progress: float, schedule: str) -> list[float]:
    """How far the entropy's weight has risen at each stage when `progress`, 0 to 1, of the search is done.

    `uniform`: equally at all stages. `stagewise`: from 0 to 1 at one stage after the other. While a stage is undecided,
    the stages after it are trained on the outputs of all its candidates, so their alphas say little about one of them.
    """
    if schedule == "uniform":
        return [progress] * stages
    return [min(1.0, max(0.0, progress * stages - stage)) for stage in range(stages)]
