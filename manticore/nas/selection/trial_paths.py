"""Which paths a search tries one by one: all within the budget, or a sample of them."""

from __future__ import annotations

import random

from manticore.errors import ManticoreError
from manticore.nas.choices import PathNames, skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.selection.budget import Budget
from manticore.nas.supernet import Supernet

MAX_PATHS = 64
"""Largest number of paths that are tried."""

TRIES = 100
"""Number of draws for each path of a sample; a sample for which they do not suffice is smaller."""


def paths_to_try(net: Supernet, budget: Budget, rng: random.Random) -> list[PathNames]:
    """All paths within the budget; of a large space a sample, which includes each component alone if that is a path.

    A path that skips every stage is left out. Raises ManticoreError if no path is within the budget.
    """
    choices, costs = net.choices, PathCosts(net, budget.length)

    def allowed(path: PathNames) -> bool:
        return not skips_all(path) and budget.allows(costs, path)

    if choices.count <= MAX_PATHS:
        paths = [path for path in choices.paths() if allowed(path)]
    else:
        alone = [(name,) * choices.stages for name in net.components if choices.has_alone(name)]
        paths = list(filter(allowed, alone))
        for _ in range(TRIES * MAX_PATHS):
            path = tuple(choices.random_path(rng))
            if path not in paths and allowed(path):
                paths.append(path)
            if len(paths) == MAX_PATHS:
                break
    if not paths:
        budget.check(costs)
        raise ManticoreError(f"no path that was tried has {budget.summary}; set other limits")
    return paths
