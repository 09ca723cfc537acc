"""The interface of selectors, which choose a path of a searched supernet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from manticore.nas.selection.budget import Budget
from manticore.nas.supernet import Supernet
from manticore.utils.registry import Registry


@dataclass(frozen=True)
class SelectionContext:
    """Inputs of a selector beside the supernet.

    Attributes:
        budget: the largest cost of the path.
        val_loss: from mixing weights (S, K) to the supernet's loss on the validation split, in nats.
    """

    budget: Budget
    val_loss: Callable[[Tensor], float]


Selector = Callable[[Supernet, SelectionContext], list[str]]
"""A candidate for each stage, within the budget. Raises ManticoreError if no path is within it."""

selectors: Registry[Selector] = Registry("selector")
