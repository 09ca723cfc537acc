"""Strategies: how a search updates alphas and weights. One paper per file."""

from manticore.nas.strategies.base import Search, Strategy, TrainingFree, strategies
from manticore.nas.strategies.darts import Darts
from manticore.nas.strategies.single_level import Simultaneous
from manticore.nas.strategies.zero_shot import ZeroShot

__all__ = ["Darts", "Search", "Simultaneous", "Strategy", "TrainingFree", "ZeroShot", "strategies"]
