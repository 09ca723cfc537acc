"""Local beam search over paths, from the base alone. A step changes one choice of a path."""

from __future__ import annotations

import math

from manticore.nas.choices import PathNames, skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.paired import survivors
from manticore.nas.selection.scores import ListedScores, PathScores
from manticore.nas.supernet import Supernet

WIDTH = 4
"""Number of paths that are kept after each round; up to half as many more if differences are not clear."""


@selectors.register("beam")
def beam(supernet: Supernet, context: SelectionContext) -> PathScores:
    """Minus the validation loss of the paths that were tried: in each round the kept paths with one choice changed.

    A path is dropped only if it is clearly worse than the best one (see `paired.survivors`). The search ends when a
    round finds no better path.
    """
    choices, costs = supernet.choices, PathCosts(supernet, context.budget.length)
    alone = (supernet.base,) * choices.stages
    start: PathNames = alone
    if not choices.has_alone(supernet.base) or not context.budget.allows(costs, alone):
        start = tuple(context.budget.best(costs, [[0.0] * len(supernet.candidates)] * choices.stages))
    losses, kept, improves = {start: context.val_loss(path=start)}, [start], True
    while improves:
        near = {path for each in kept for path in choices.neighbours(each)} - losses.keys()
        tried = [path for path in near if not skips_all(path) and context.budget.allows(costs, path)]
        new = {path: context.val_loss(path=path) for path in sorted(tried)}
        improves = min(new.values(), default=math.inf) < min(losses.values())
        losses |= new
        kept = survivors(sorted(losses, key=lambda path: losses[path])[: 2 * WIDTH], WIDTH, context.difference)
    return ListedScores({path: -loss for path, loss in losses.items()})
