"""Options of the optimizers: how weights are updated, and how alphas are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manticore.utils.fields import (
    Checked,
    ClosedUnitInterval,
    DecayRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
)


@dataclass(frozen=True)
class WeightOptions(Checked):
    """The optimizer of network weights: linear warm-up, then cosine decay."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimizer: adamw, or muon (Muon for hidden matrices, AdamW for everything else)."""

    lr: PositiveFloat = 1e-3
    """Peak learning rate."""

    weight_decay: NonNegativeFloat = 0.01
    """Weight decay; not applied to norms, biases, recurrent constants and alphas."""

    beta1: DecayRate = 0.9
    """Decay rate of the running mean of gradients."""

    beta2: DecayRate = 0.98
    """Decay rate of the running mean of squared gradients."""

    warmup_steps: NonNegativeInt = 50
    """Number of steps in which the learning rate rises linearly to its peak."""

    min_lr_ratio: ClosedUnitInterval = 0.1
    """Learning rate at the last step, as a fraction of the peak."""

    max_grad_norm: NonNegativeFloat = 1.0
    """Largest norm of the gradient; larger gradients are scaled down to it."""

    embedding_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of embeddings, positions and heads, as a multiple of lr."""

    donor_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of a donor component's layers, as a multiple of lr; projectors and the hub have lr itself."""


@dataclass(frozen=True)
class AlphaOptions(Checked):
    """The optimizer of alphas: Adam with cosine decay. There is no weight decay, which would pull them to uniform."""

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
