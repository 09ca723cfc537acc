"""Strategies: how a search updates alphas and weights, or which paths it trains. One paper per file."""

from manticore.nas.strategies.base import (
    Search,
    Strategy,
    TrainingFree,
    as_strategy,
    build_strategy,
    strategies,
    strategy_name,
)
from manticore.nas.strategies.blockwise import Blockwise
from manticore.nas.strategies.complexity_bins import ComplexityBins
from manticore.nas.strategies.darts import Darts
from manticore.nas.strategies.gaea import Gaea
from manticore.nas.strategies.halving import Halving
from manticore.nas.strategies.head_wise import HeadWise
from manticore.nas.strategies.marginal import Marginal
from manticore.nas.strategies.mixture_of_supernets import MixtureOfSupernets
from manticore.nas.strategies.path_training import PathStrategy, PathTrainer
from manticore.nas.strategies.per_example import PerExample
from manticore.nas.strategies.replace_one import ReplaceOne
from manticore.nas.strategies.rloo import Rloo
from manticore.nas.strategies.sampled_relaxations import DrNas, Gdas, ReinMax
from manticore.nas.strategies.sampled_supernet import Fair, FullLayout, SampledSupernet, Sandwich, Uniform
from manticore.nas.strategies.sdarts import AdversarialDarts, SmoothDarts
from manticore.nas.strategies.second_order import SecondOrderDarts
from manticore.nas.strategies.single_level import Simultaneous
from manticore.nas.strategies.zero_shot import ZeroShot

__all__ = [
    "AdversarialDarts",
    "Blockwise",
    "ComplexityBins",
    "Darts",
    "DrNas",
    "Fair",
    "FullLayout",
    "Gaea",
    "Gdas",
    "Halving",
    "HeadWise",
    "Marginal",
    "MixtureOfSupernets",
    "PathStrategy",
    "PathTrainer",
    "PerExample",
    "ReinMax",
    "ReplaceOne",
    "Rloo",
    "SampledSupernet",
    "Sandwich",
    "Search",
    "SecondOrderDarts",
    "Simultaneous",
    "SmoothDarts",
    "Strategy",
    "TrainingFree",
    "Uniform",
    "ZeroShot",
    "as_strategy",
    "build_strategy",
    "strategies",
    "strategy_name",
]
