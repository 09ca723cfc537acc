"""Paths ranked before any training: the loss of an aligned supernet on held-out text, path by path.

It is a first look, not a verdict: DESIGN section 2 measured a Kendall tau of 0.32 between this order and the one after
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from manticore.alignment.reading import Reading
from manticore.alignment.steps import next_token_loss
from manticore.errors import ManticoreError
from manticore.selection.best_path import best_path
from manticore.supernet import Supernet

ENUMERABLE = 256
"""Most paths that are scored one by one."""

Path = tuple[str, ...]


@torch.no_grad()
def path_loss(supernet: Supernet, batches: Sequence[Reading], path: Sequence[str]) -> float:
    """Mean cross-entropy in nats per next token of one path. Raises ManticoreError if there is none to predict."""
    was_training = supernet.training
    supernet.eval()
    losses = torch.cat([next_token_loss(supernet, batch, path).double() for batch in batches])
    supernet.train(was_training)
    if not len(losses):
        raise ManticoreError("no path can be scored on text without a second token")
    return float(losses.mean())


def zero_shot(supernet: Supernet, batches: Sequence[Reading]) -> dict[Path, float]:
    """The loss of every path in nats per token, best first.

    Args:
        supernet: an aligned language model.
        batches: held-out text in home's tokens.

    Raises ManticoreError if there are more than `ENUMERABLE` paths; `stage_gains` scores those.
    """
    count = len(supernet.candidates) ** supernet.space.stages
    if count > ENUMERABLE:
        raise ManticoreError(f"{count} paths are too many to score one by one; at most {ENUMERABLE}")
    paths = product(supernet.candidates, repeat=supernet.space.stages)
    losses = {path: path_loss(supernet, batches, path) for path in paths}
    return dict(sorted(losses.items(), key=lambda held: held[1]))


def stage_gains(supernet: Supernet, batches: Sequence[Reading]) -> list[list[float]]:
    """What each candidate at each stage gains over home there, all other stages home: nats per token, (S, K).

    Summed along a path it estimates the path's gain, as if stages did not mind each other; S (K - 1) + 1 evaluations.
    """
    home = [supernet.home] * supernet.space.stages
    at_home = path_loss(supernet, batches, home)
    gains = []
    for stage in range(supernet.space.stages):
        others = [[*home[:stage], name, *home[stage + 1 :]] for name in supernet.candidates]
        gains.append([0.0 if path == home else at_home - path_loss(supernet, batches, path) for path in others])
    return gains


def best_zero_shot(
    supernet: Supernet,
    batches: Sequence[Reading],
    costs_SK: Sequence[Sequence[float]] | None = None,
    budget: float | None = None,
    fixed: float = 0.0,
) -> Path:
    """The path with the least loss within a budget: by `zero_shot` up to `ENUMERABLE` paths, else by `stage_gains`.

    `costs_SK`, `budget` and `fixed` are those of `best_path`, which also says what is raised.
    """
    if len(supernet.candidates) ** supernet.space.stages > ENUMERABLE:
        chosen = best_path(stage_gains(supernet, batches), costs_SK, budget, fixed)
        return tuple(supernet.candidates[choice] for choice in chosen)
    costs = costs_SK if costs_SK is not None else [[0.0] * len(supernet.candidates)] * supernet.space.stages
    best_path(costs, costs, budget, fixed)  # says so if no path fits
    column = {name: place for place, name in enumerate(supernet.candidates)}
    for path in zero_shot(supernet, batches):
        cost = fixed
        for row, name in zip(costs, path, strict=True):
            cost += row[column[name]]
        if budget is None or cost <= budget:
            return path
    raise AssertionError("best_path found a path within the budget")
