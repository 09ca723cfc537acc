"""Options of the optimizer of alphas, and the names of placements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manticore.utils.fields import Checked, ClosedUnitInterval, DecayRate, NonNegativeFloat

Placement = Literal["even", "first", "last", "replace-one", "random"]
"""Placements of the base that need no search; see `selection/placements`."""

RANDOM_PLACEMENTS = 3
"""Number of paths of the placement `random`."""


@dataclass(frozen=True)
class AlphaOptions(Checked):
    """The optimizer of alphas: Adam with cosine decay. It has no weight decay, which would pull them to uniform."""

    lr: NonNegativeFloat = 0.1
    """Learning rate at the first alpha step; Adam changes a logit by at most about this much a step."""

    beta1: DecayRate = 0.5
    """Decay rate of the running mean of gradients (DARTS, arXiv 1806.09055, appendix A)."""

    beta2: DecayRate = 0.999
    """Decay rate of the running mean of squared gradients."""

    min_lr_ratio: ClosedUnitInterval = 0.1
    """Learning rate at the last step, as a fraction of the first; small, so that late noise changes no choice."""

    max_grad_norm: NonNegativeFloat = 1.0
    """Largest norm of the gradient; larger gradients are scaled down to it."""
