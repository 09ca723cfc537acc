"""Placements of the base without a search: every n-th stage, the first, the last, or at random, within a budget.

They are what a search must beat: rules by which layers of attention are usually kept (evenly, arXiv 2403.19887), and
the sum of losses of single replaced stages. Each has the base at as many stages as the budget allows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from manticore.errors import ManticoreError
from manticore.nas.choices import PathNames
from manticore.nas.cost import PathCosts
from manticore.nas.options import RANDOM_PLACEMENTS, Placement
from manticore.nas.selection.budget import Budget
from manticore.nas.supernet import Supernet


def placements(
    net: Supernet, budget: Budget, kinds: Sequence[Placement], rng: random.Random, alone: Callable[[], PathNames]
) -> dict[str, PathNames]:
    """Paths by their names: `base evenly`, `base first`, `base last`, `replace-one alone`, `base at random 1` to 3.

    Args:
        net: the supernet.
        budget: the limits of every path.
        kinds: which placements.
        rng: draws the random ones.
        alone: the path of `replace-one`.

    Raises ManticoreError if a stage has other candidates than the base and one more, or no placement is within the
    budget.
    """
    donors = check_placements(net)
    count = net.choices.stages
    orders: dict[str, Callable[[int], Sequence[int]]] = {
        "base evenly": lambda kept: [(2 * index + 1) * count // (2 * kept) for index in range(kept)],
        "base first": range,
        "base last": lambda kept: range(count - kept, count),
    }
    names = {"even": ["base evenly"], "first": ["base first"], "last": ["base last"]}
    names["random"] = [f"base at random {draw}" for draw in range(1, RANDOM_PLACEMENTS + 1)]
    for name in names["random"]:
        orders[name] = partial(_first, rng.sample(range(count), count))
    paths: dict[str, PathNames] = {}
    for kind in kinds:
        if kind == "replace-one":
            paths["replace-one alone"] = tuple(alone())
            continue
        for name in names[kind]:
            paths[name] = _largest(net, budget, donors, orders[name])
    return paths


def check_placements(net: Supernet) -> list[str]:
    """The other candidate of each stage. Raises ManticoreError if a stage has not the base and one other."""
    choices, base = net.choices, net.base
    donors = []
    for stage in range(choices.stages):
        names = [choices.candidates[index] for index in choices.allowed[stage]]
        if base not in names or len(names) != 2:
            raise ManticoreError(
                f"baselines.placements compares the base with one other candidate, and stage {stage + 1} has "
                f"{', '.join(names)}; leave it out"
            )
        donors.append(next(name for name in names if name != base))
    if any(len(group) > 1 for group in choices.decisions):
        raise ManticoreError("baselines.placements needs stages that choose by themselves; leave it out")
    return donors


def _first(order: Sequence[int], kept: int) -> Sequence[int]:
    return order[:kept]


def _largest(
    net: Supernet, budget: Budget, donors: Sequence[str], kept_of: Callable[[int], Sequence[int]]
) -> PathNames:
    """The path with the base at the most stages of an order that the budget allows."""
    costs = PathCosts(net, budget.length)
    for kept in range(len(donors), -1, -1):
        stages = set(kept_of(kept)) if kept else set()
        path = tuple(net.base if stage in stages else donor for stage, donor in enumerate(donors))
        if budget.allows(costs, path):
            return path
    budget.check(costs)
    raise ManticoreError(f"no placement has {budget.summary}; leave out baselines.placements")
