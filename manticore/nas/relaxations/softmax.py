"""Relaxations without randomness: the softmax of the alphas, and the uniform mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from manticore.nas.relaxations.base import RelaxationContext, relaxations


@relaxations.register("softmax")
def softmax(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """`softmax(alpha / T)` over the candidates of each stage (DARTS, arXiv 1806.09055, eq. 2)."""
    return torch.softmax(alpha_SK.float() / context.temperature, dim=-1)


@relaxations.register("fixed")
def fixed(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """The uniform mixture, independent of the alphas: a baseline for every search."""
    return torch.full_like(alpha_SK, 1 / alpha_SK.shape[-1])
