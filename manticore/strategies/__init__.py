"""How alphas move while weights train: one paper a file. A strategy says what one step of the search does."""

from manticore.strategies.base import Search, Strategy, strategies
from manticore.strategies.darts import Darts
from manticore.strategies.simultaneous import Simultaneous

__all__ = ["Darts", "Search", "Simultaneous", "Strategy", "strategies"]
