"""Relaxations: maps from the alphas, which are trained, to mixing weights on the simplex.

A relaxation is chosen by name. A forward pass calls it once, so all stages of one pass have the same weights, even if
they are random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from manticore.utils.registry import Registry


@dataclass(frozen=True)
class RelaxationContext:
    """What a relaxation may depend on besides the alphas.

    Attributes:
        temperature: the recipe's `search.temperature`.
        progress: share of the search that is done after the warm-up, 0 to 1.
        generator: source of randomness in a training step; None where weights are read without training (selection,
            records, evaluation), where a relaxation must be deterministic.
    """

    temperature: float = 1.0
    progress: float = 0.0
    generator: torch.Generator | None = None


Relaxation = Callable[[Tensor, RelaxationContext], Tensor]
"""Alphas (S, K) to mixing weights (S, K), each row on the simplex, differentiable in the alphas."""

relaxations: Registry[Relaxation] = Registry("relaxation")

EXCLUDED = -1e9
"""What a relaxation reads as the alpha of a candidate that a stage does not have."""


def relax_allowed(relax: Relaxation, alpha_SK: Tensor, mask_SK: Tensor | None, context: RelaxationContext) -> Tensor:
    """Mixing weights (S, K) that are 0 where `mask_SK` is False: for candidates that a stage does not have."""
    if mask_SK is None:
        return relax(alpha_SK, context)
    weights_SK = relax(alpha_SK.masked_fill(~mask_SK, EXCLUDED), context).masked_fill(~mask_SK, 0)
    # Masked again, and last: the gradient of an entropy is infinite at 0, and must not reach the division.
    return (weights_SK / weights_SK.sum(-1, keepdim=True)).masked_fill(~mask_SK, 0)
