"""Relaxations: from alphas, which move, to mixing weights on the simplex. Knows nothing of branches or losses.

A relaxation is chosen by name, never guessed from the values of a tensor. It is read once for each forward pass, so all
readers of one pass see the same weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from manticore.utils.registry import Registry

Relaxation = Callable[[Tensor, float], Tensor]

relaxations: Registry[Relaxation] = Registry("relaxation")


@relaxations.register("softmax")
def softmax(alpha_SK: Tensor, temperature: float) -> Tensor:
    """`softmax(alpha / T)` over the candidates of each stage (DARTS, arXiv 1806.09055, eq. 2)."""
    return torch.softmax(alpha_SK.float() / temperature, dim=-1)


@relaxations.register("fixed")
def fixed(alpha_SK: Tensor, temperature: float) -> Tensor:
    """The uniform mixture, whatever the alphas are: the baseline a search must beat."""
    return torch.full_like(alpha_SK, 1 / alpha_SK.shape[-1])
