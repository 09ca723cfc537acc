"""The score of a path is minus its validation loss with the weights of the supernet.

Single paths are evaluated with shared weights as in SPOS (arXiv 1904.00420): all paths of a small space.
Of a large space a sample is evaluated, and a chain is fitted to its losses: a term for each candidate at each stage and
one for every two neighbours, by ridge regression. The best path of the chain is then found exactly by dynamic
programming, where LINAS (arXiv 2205.10358) searches a predictor by evolution. For a Pareto front the sample is drawn in
rounds from the fronts of chains (see `pareto`), and only paths that were evaluated are selected.
"""

from __future__ import annotations

import math

from manticore.nas.choices import PathNames
from manticore.nas.cost import PathCosts
from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.chain import fit_chain
from manticore.nas.selection.pareto import front_search
from manticore.nas.selection.scores import ListedScores, PathScores
from manticore.nas.selection.trial_paths import MAX_PATHS, paths_to_try
from manticore.nas.supernet import Supernet


@selectors.register("evaluated")
def evaluated_paths(supernet: Supernet, context: SelectionContext) -> PathScores:
    """Minus the validation loss of each path, or of the chain that is fitted to those of a sample."""
    choices = supernet.choices

    def score(path: PathNames) -> float:
        return -context.val_loss(path=path)

    if context.front and choices.count > MAX_PATHS and context.budget.unlimited:
        costs = PathCosts(supernet, context.budget.length)
        tables = [costs.table(resource) for resource in context.front]
        return ListedScores(front_search(choices, tables, score, MAX_PATHS, context.rng))
    scores = {path: score(path) for path in paths_to_try(supernet, context.budget, context.rng)}
    if choices.count <= len(scores) or context.front:
        return ListedScores(scores)
    finite = {path: value for path, value in scores.items() if math.isfinite(value)}
    return fit_chain(choices, finite) if finite else ListedScores(scores)
