"""Options of the optimizers of weights and of alphas."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class WeightOptions:
    """How network weights move: AdamW or Muon, linear warm-up, cosine decay."""

    optimizer: str = "adamw"
    """Who moves them: adamw, or muon (hidden matrices by Muon, all else by AdamW)."""

    lr: float = 1e-3
    """Learning rate at its peak."""

    weight_decay: float = 0.01
    """Weight decay; never applied to norms, biases, recurrent constants or alphas."""

    beta1: float = 0.9
    """Decay of the gradient's running mean."""

    beta2: float = 0.98
    """Decay of the squared gradient's running mean."""

    warmup_steps: int = 50
    """Steps of linear rise to the peak."""

    min_lr_ratio: float = 0.1
    """Share of the peak that is left at the last step."""

    max_grad_norm: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""

    embedding_lr_scale: float = 1.0
    """Learning rate of embeddings, positions and heads, as a multiple of lr."""

    donor_lr_scale: float = 1.0
    """Learning rate of the layers at donor stages, as a multiple of lr; projectors, and the hub, move by lr."""


@dataclass(frozen=True)
class AlphaOptions:
    """How alphas move: Adam, cosine decay, and no weight decay, which would pull them to uniform."""

    lr: float = 0.1
    """Learning rate at the first alpha step; Adam moves a logit by at most about this much a step."""

    beta1: float = 0.5
    """Decay of the gradient's running mean (DARTS, arXiv 1806.09055, appendix A)."""

    beta2: float = 0.999
    """Decay of the squared gradient's running mean."""

    min_lr_ratio: float = 0.1
    """Share of the learning rate that is left at the last step, so that late noise turns no decision over."""

    max_grad_norm: float = 1.0
    """Largest gradient norm."""
