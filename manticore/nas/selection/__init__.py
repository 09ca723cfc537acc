"""Selection: how a path is chosen from a searched supernet. One rule per file."""

from manticore.nas.selection.base import SelectionContext, Selector, selectors
from manticore.nas.selection.best_path import best_path
from manticore.nas.selection.budget import Budget, best_path_within, log_weight
from manticore.nas.selection.largest_weight import largest_weight

__all__ = [
    "Budget",
    "SelectionContext",
    "Selector",
    "best_path",
    "best_path_within",
    "largest_weight",
    "log_weight",
    "selectors",
]
