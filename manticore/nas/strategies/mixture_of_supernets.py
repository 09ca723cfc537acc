"""Mixture-of-Supernets (arXiv 2306.04845): sampled paths whose projectors are generated from the path.

Paths that share all weights interfere most in the projectors, where a stage reads and writes the stream. Here each
projector of a donor is a mixture of matrices whose coefficients depend on the path (`nas/routed_projectors.py`), so
that paths share less. The projectors of the discrete hybrid are ordinary ones: the mixture for its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manticore.errors import ManticoreError
from manticore.modeling.projectors import Linear
from manticore.nas.routed_projectors import donor_projectors, route_projectors
from manticore.nas.strategies.base import strategies, strategy_name
from manticore.nas.strategies.sampled_supernet import Uniform
from manticore.nas.supernet import Supernet
from manticore.utils.fields import Checked, PositiveInt

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable


@strategies.register("mixture-of-supernets")
@dataclass(frozen=True)
class MixtureOfSupernets(Uniform, Checked):
    """One path, each choice drawn uniformly, through the projectors that the path generates."""

    experts: PositiveInt = 2
    """Number of matrices E of each projector in addition to its own."""

    def check(self, net: Searchable) -> None:
        super().check(net)
        donors = donor_projectors(net) if isinstance(net, Supernet) else []
        if not any(isinstance(getattr(branch, name), Linear) for branch, name in donors):
            raise ManticoreError(
                f"strategy '{strategy_name(self)}' generates linear projectors of donors, of which this network has "
                "none; use uniform"
            )

    def prepare(self, net: Searchable) -> None:
        if isinstance(net, Supernet):
            route_projectors(net, self.experts)
