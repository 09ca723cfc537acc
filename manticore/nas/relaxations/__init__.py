"""Relaxations: maps from the alphas, which are trained, to mixing weights on the simplex. One paper per file."""

from manticore.nas.relaxations.base import Relaxation, RelaxationContext, relax_allowed, relaxations
from manticore.nas.relaxations.dirichlet import dirichlet
from manticore.nas.relaxations.gumbel import gumbel
from manticore.nas.relaxations.reinmax import reinmax
from manticore.nas.relaxations.softmax import fixed, softmax

__all__ = [
    "Relaxation",
    "RelaxationContext",
    "dirichlet",
    "fixed",
    "gumbel",
    "reinmax",
    "relax_allowed",
    "relaxations",
    "softmax",
]
