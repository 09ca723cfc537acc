"""The runner-up of a selection: the path that would have been selected without the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from manticore.nas.choices import PathNames, skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.selection.budget import Budget
from manticore.nas.selection.scores import MAX_RANKED, ListedScores, PathScores
from manticore.nas.supernet import Supernet


def runner_up(scores: PathScores, net: Supernet, budget: Budget, path: Sequence[str]) -> PathNames | None:
    """The path with the largest score but `path`, within the budget; None if no other path has a score.

    Of a space with more than `MAX_RANKED` paths, those that differ from `path` in one choice are compared.
    """
    paths: Iterable[PathNames]
    if isinstance(scores, ListedScores):
        paths = scores.values
    elif net.choices.count <= MAX_RANKED:
        paths = net.choices.paths()
    else:
        paths = net.choices.neighbours(path)
    costs = PathCosts(net, budget.length)
    rivals = [
        each
        for each in paths
        if each != tuple(path) and not skips_all(each) and (budget.unlimited or budget.allows(costs, each))
    ]
    best = max(rivals, key=scores.score, default=None)
    return None if best is None or scores.score(best) == -math.inf else best
