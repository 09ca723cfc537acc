"""How alphas move while weights train: one paper a file. A strategy says what one step of the search does."""

from manticore.nas.strategies.base import Search, Strategy, strategies
from manticore.nas.strategies.darts import Darts
from manticore.nas.strategies.single_level import Simultaneous

__all__ = ["Darts", "Search", "Simultaneous", "Strategy", "strategies"]
