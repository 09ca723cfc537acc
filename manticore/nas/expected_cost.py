"""Expected cost of a path drawn from the mixing weights, and a penalty where it is beyond the limits.

The term `s * max(0, sum_s sum_k w_sk c_sk / C - 1)` of ProxylessNAS (arXiv 1812.00332) and TuNAS (arXiv 2008.06120),
for several resources, and for what a path has once, however many stages use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from manticore.nas.choices import Choices
from manticore.nas.cost import CostTable
from manticore.nas.selection.solver import Bound
from manticore.utils.transfers import numbers_on


def expected_cost(table: CostTable, choices: Choices, weights_SK: Tensor) -> Tensor:
    """The mean cost of the paths whose decisions are drawn from the mixing weights, differentiable in them: a scalar.

    A table that counts once has the probability that some decision takes its donor: `1 - prod_d (1 - w_dk)`.
    """
    finite = [[cost if math.isfinite(cost) else 0.0 for cost in row] for row in table.stages]
    total = table.fixed + (weights_SK * numbers_on(finite, weights_SK.device, weights_SK.dtype)).sum()
    rows = [group[0] for group in choices.decisions]
    for index, cost in table.once.items():
        own = [weights_SK[:, k] for k in range(weights_SK.shape[1]) if table.owner(k) == index]
        others_S = (1 - reduce(torch.add, own)).unbind()  # the backward of torch.prod would synchronize to look for 0
        total = total + cost * (1 - reduce(torch.mul, (others_S[row] for row in rows)))
    return total


@dataclass(frozen=True)
class CostPenalty:
    """How far expected costs are beyond their limits, as shares of the limits, times a weight; in nats.

    Attributes:
        bounds: the limits.
        choices: of the search space.
        weight: penalty of an expected cost that is twice its limit.
    """

    bounds: Sequence[Bound]
    choices: Choices
    weight: float

    def __call__(self, weights_SK: Tensor) -> Tensor:
        """The penalty, a scalar that is differentiable in the mixing weights (S, K)."""
        total = weights_SK.new_zeros(())
        for bound in self.bounds:
            cost = expected_cost(bound.table, self.choices, weights_SK)
            if math.isfinite(bound.most):
                total = total + (cost / bound.most - 1).clamp_min(0)
            if math.isfinite(bound.least):
                total = total + (1 - cost / bound.least).clamp_min(0)
        return self.weight * total
