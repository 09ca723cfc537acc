"""RLOO: a score-function gradient of the alphas on sampled paths, each with the others as baseline (arXiv 2402.14740).

With paths z_1, ..., z_m drawn from the mixing weights and their losses L_j on one batch,

    grad = 1 / (m - 1)  sum_j (L_j - mean L) grad log p(z_j).

It needs forward passes of single paths only, and no gradient through the supernet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from manticore.nas.strategies.base import Search, check_single_paths, strategies
from manticore.nas.strategies.darts import Darts
from manticore.tasks.dataset import Batch

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable

PATHS = 4
"""m, the number of sampled paths of a step."""


@strategies.register("rloo")
class Rloo(Darts):
    """A policy step of the alphas on sampled paths, then a step of the weights."""

    searches_sizes: ClassVar[bool] = False

    def check(self, net: Searchable) -> None:
        check_single_paths(self, net)

    def update_alphas(self, search: Search, batches: dict[str, Batch]) -> Tensor:
        paths = [search.net.sample() for _ in range(PATHS)]
        return search.policy_step(batches["alphas"], paths, leave_one_out)


def leave_one_out(losses_N: Tensor) -> Tensor:
    """Each loss minus the mean of the others, (N,): `N / (N - 1) (L_j - mean L)`."""
    return (losses_N - losses_N.mean()) * len(losses_N) / (len(losses_N) - 1)
