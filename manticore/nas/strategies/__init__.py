"""Strategies: how a search updates alphas and weights, or which paths it trains. One paper per file."""

from manticore.nas.strategies.base import Search, Strategy, TrainingFree, strategies
from manticore.nas.strategies.darts import Darts
from manticore.nas.strategies.halving import Halving
from manticore.nas.strategies.marginal import Marginal
from manticore.nas.strategies.path_training import PathStrategy, PathTrainer
from manticore.nas.strategies.single_level import Simultaneous
from manticore.nas.strategies.zero_shot import ZeroShot

__all__ = [
    "Darts",
    "Halving",
    "Marginal",
    "PathStrategy",
    "PathTrainer",
    "Search",
    "Simultaneous",
    "Strategy",
    "TrainingFree",
    "ZeroShot",
    "strategies",
]
