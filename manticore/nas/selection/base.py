"""The interface of selectors, which score the paths of a searched supernet."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from manticore.nas.choices import PathNames
from manticore.nas.resources import Resource
from manticore.nas.selection.budget import Budget
from manticore.nas.selection.paired import Difference
from manticore.nas.selection.scores import PathScores
from manticore.nas.supernet import Supernet
from manticore.utils.registry import Registry


def unknown_difference(path: PathNames, rival: PathNames) -> Difference | None:
    """Stands for `SelectionContext.difference` where losses of single examples are not known: returns None."""
    return None


@dataclass(frozen=True)
class SelectionContext:
    """Inputs of a selector besides the supernet.

    Attributes:
        budget: the largest cost of the path.
        val_loss: the supernet's loss on the validation split in nats, with options of its forward pass:
            `val_loss(weights=...)` for mixing weights (S, K), `val_loss(path=...)` for a path.
        rng: for selectors that draw paths; seeded by the run.
        difference: function from two paths to the difference of their validation losses, paired over the examples; None
            where it is not known.
        front: resources whose Pareto front with the score is computed; empty for a single path.
    """

    budget: Budget
    val_loss: Callable[..., float]
    rng: random.Random
    difference: Callable[[PathNames, PathNames], Difference | None] = unknown_difference
    front: tuple[Resource, ...] = ()


Selector = Callable[[Supernet, SelectionContext], PathScores]
"""Scores of paths; the one with the largest score within the budget is selected."""

selectors: Registry[Selector] = Registry("selector")
