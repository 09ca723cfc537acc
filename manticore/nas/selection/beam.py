"""Beam search over paths from the base alone, one stage at a time (as PostNAS places layers, arXiv 2508.15884)."""

from __future__ import annotations

from manticore.nas.cost import PathCosts
from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.scores import ListedScores, PathNames, PathScores
from manticore.nas.supernet import Supernet

WIDTH = 4
"""Number of paths that are kept after each round."""


@selectors.register("beam")
def beam(supernet: Supernet, context: SelectionContext) -> PathScores:
    """Minus the validation loss of the paths that were tried: in each round the kept ones with one choice changed.

    It ends when a round finds no better path.
    """
    choices, costs = supernet.choices, PathCosts(supernet, context.budget.length)
    start = [supernet.base if supernet.base in choices.names(stage) else None for stage in range(choices.stages)]
    first = tuple(name or choices.names(stage)[0] for stage, name in enumerate(start))
    losses: dict[PathNames, float] = {first: context.val_loss(path=first)}
    kept = [first]
    while True:
        tried = {path for each in kept for path in _neighbours(supernet, each)} - losses.keys()
        new = {path: context.val_loss(path=path) for path in sorted(tried)}
        if not new or min(new.values()) >= min(losses.values()):
            losses |= new
            break
        losses |= new
        kept = sorted(losses, key=lambda path: losses[path])[:WIDTH]
    return ListedScores({path: -loss for path, loss in losses.items() if context.budget.allows(costs, path)})


def _neighbours(supernet: Supernet, path: PathNames) -> list[PathNames]:
    """The paths that differ from `path` in the choice of one group of stages."""
    choices = supernet.choices
    return [
        tuple(name if stage in group else own for stage, own in enumerate(path))
        for group in choices.decisions
        for name in choices.names(group[0])
        if name != path[group[0]]
    ]
