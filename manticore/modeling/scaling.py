"""Constant factors of embeddings and logits, which some families have in their configuration (Granite, Gemma 2, muP).

A backbone with such a factor would apply it to the inputs of every segment. A hybrid applies those of its base once:
that of the embedding after the look-up, those of the logits after the next-token head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PretrainedConfig

from .segments import BackboneLayout


@dataclass(frozen=True)
class LogitScale:
    """Logits as a function of the output `z` of the next-token head: `cap tanh(z multiplier / divisor / cap)`.

    Attributes:
        multiplier, divisor: factors; 1 where a family has none.
        cap: bound of the logits (soft-capping, arXiv 2408.00118); None where a family has none.
    """

    multiplier: float = 1.0
    divisor: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: PretrainedConfig, layout: BackboneLayout) -> LogitScale:
        """The factors of a family, from the configuration fields that its layout names."""
        cap = None if layout.logits_cap is None else getattr(config, layout.logits_cap)
        return cls(layout.factor(config, "logits_multiplier"), layout.factor(config, "logits_divisor"), cap)

    def __call__(self, z: Tensor) -> Tensor:
        """Scale logits of any shape."""
        if self.multiplier != 1.0:
            z = z * self.multiplier
        if self.divisor != 1.0:
            z = z / self.divisor
        return z if self.cap is None else torch.tanh(z / self.cap) * self.cap
