"""How a path is chosen once the alphas stand. One way a file."""

from manticore.nas.selection.best_path import best_path

__all__ = ["best_path"]
