"""Mixing weights drawn from a Dirichlet distribution (DrNAS, arXiv 2006.10355)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.nas.relaxations.base import RelaxationContext, relaxations
from manticore.utils.rng import default_source

LEAST = 1e-3
"""Smallest concentration; that of a candidate which a stage does not have."""


@relaxations.register("dirichlet")
def dirichlet(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """A sample of `Dirichlet(elu(alpha) + 1)` with pathwise gradients; without a source of randomness its mean."""
    concentration_SK = (F.elu(alpha_SK.float() / context.temperature) + 1).clamp_min(LEAST)
    if context.generator is None:
        return concentration_SK / concentration_SK.sum(-1, keepdim=True)
    with default_source(context.generator):  # the distributions of torch have no argument for it
        distribution = torch.distributions.Dirichlet(concentration_SK, validate_args=False)  # a check would synchronize
        sample_SK: Tensor = distribution.rsample()
    return sample_SK
