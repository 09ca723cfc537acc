"""What a strategy is, and what it may ask of a search. Knows no particular strategy and no model."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from manticore.utils.registry import Registry

Batch = dict[str, Tensor]


class Search(Protocol):
    """The moves a search offers. Each takes one batch, moves what it names, and returns the loss in nats."""

    @property
    def warming_up(self) -> bool:
        """Whether the alphas are still frozen."""
        ...

    def weight_step(self, batch: Batch) -> float:
        """Move the weights; the alphas get no gradient."""
        ...

    def alpha_step(self, batch: Batch) -> float:
        """Move the alphas; the weights get no gradient."""
        ...

    def joint_step(self, batch: Batch) -> float:
        """Move both by the same gradient."""
        ...


class Strategy(Protocol):
    """One step of a search. It holds no state of its own: a resumed search makes it anew.

    Attributes:
        splits: for each stream a step reads, the task's splits it draws from.
    """

    splits: ClassVar[dict[str, tuple[str, ...]]]

    def step(self, search: Search, batches: dict[str, Batch]) -> dict[str, float]:
        """Move weights and alphas once, and return the losses by name."""
        ...


strategies: Registry[type[Strategy]] = Registry("strategy")
