"""DARTS with random mixing weights: GDAS, ReinMax and DrNAS. What differs is the relaxation (`nas/relaxations`)."""

from __future__ import annotations

from typing import ClassVar

from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.darts import Darts


@strategies.register("gdas")
class Gdas(Darts):
    """A path is sampled in every pass; gradients go through a Gumbel softmax (arXiv 1910.04465)."""

    relaxation: ClassVar[str | None] = "gumbel"


@strategies.register("reinmax")
class ReinMax(Darts):
    """A path is sampled in every pass; the gradient is exact to second order (arXiv 2304.08612)."""

    relaxation: ClassVar[str | None] = "reinmax"


@strategies.register("drnas")
class DrNas(Darts):
    """Mixing weights are drawn from a Dirichlet distribution in every pass (arXiv 2006.10355)."""

    relaxation: ClassVar[str | None] = "dirichlet"
