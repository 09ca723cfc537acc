"""Head-wise alphas: every group of features of the stream has mixing weights of its own.

As in multi-head routing (arXiv 2211.03831), which mixes adapters for each block of features, the D features of the
stream are cut into G groups of neighbours, at each stage with alphas of their own:

    h'[g] = sum_k w[g, s, k] y[k][g],   w[g, s] = softmax(alpha[g, s]).

The discrete hybrid has one candidate for each stage, not for each group. A path is selected by the mean over groups,

    w[s, k] = 1 / G  sum_g w[g, s, k],

which is also the input of the regularizer, so that a rising entropy penalty makes the groups agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manticore.errors import ManticoreError
from manticore.nas.strategies.base import strategies, strategy_name
from manticore.nas.strategies.darts import Darts
from manticore.nas.supernet import Supernet
from manticore.utils.fields import Checked, PositiveInt

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable


@strategies.register("head-wise")
@dataclass(frozen=True)
class HeadWise(Darts, Checked):
    """DARTS with alphas for each group of features. A supernet with a base only."""

    groups: PositiveInt = 4
    """Number of groups G of neighbouring features."""

    def check(self, net: Searchable) -> None:
        if not isinstance(net, Supernet) or not net.topology.has_base:
            raise ManticoreError(
                f"strategy '{strategy_name(self)}' mixes groups of features of a base's stream, which only a supernet "
                "of a topology with a base has; use darts"
            )

    def prepare(self, net: Searchable) -> None:
        if isinstance(net, Supernet) and net.topology.has_base and net.group_alpha is None:
            net.split_alphas(self.groups)
