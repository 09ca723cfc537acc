"""The bits of the weights of a path: measured on the validation split, and chosen with the path within the limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.experiment.objective import Objective
from manticore.nas.bits import FULL, BitCosts, BitPath, RiseTable, best_with_bits, measure_rises, simulated
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget, PathScores
from manticore.nas.supernet import Supernet
from manticore.utils.formatting import byte_size

LOSS_SELECTORS = ("evaluated", "beam")
"""Selectors whose score of a path is minus its validation loss, if the objective has no recall."""


@dataclass(frozen=True)
class BitChoice:
    """A path with bits, and what it was selected by.

    Attributes:
        chosen: the path and the bits of its stages.
        loss: its validation loss with simulated quantization, in nats.
        full_loss: that of the same path without.
        weight_bytes: bytes of its weights.
    """

    chosen: BitPath
    loss: float
    full_loss: float
    weight_bytes: float

    @property
    def summary(self) -> str:
        """One sentence for the console."""
        bits = ", ".join(map(str, self.chosen.bits))
        return (
            f"bits of the stages: {bits}; validation loss {self.loss:.4f} with simulated quantization, "
            f"{self.full_loss:.4f} without; weights of {byte_size(int(self.weight_bytes))}"
        )


def check_bit_search(selector: str, bits: Sequence[int]) -> None:
    """Raise ManticoreError if bits are chosen in a search that does not score paths by their losses."""
    if bits and selector not in LOSS_SELECTORS:
        raise ManticoreError(
            f"bits are chosen by validation losses of paths, and {selector} does not score by them; give --set "
            "selection.selector=evaluated, and a strategy that trains a supernet"
        )


def bit_loss(exp: Experiment, net: Supernet) -> Callable[[BitPath], float]:
    """A function from a path with bits to its validation loss in nats with simulated quantization. A path is measured
    once."""
    objective, measured = Objective(exp), dict[BitPath, float]()

    def loss(chosen: BitPath) -> float:
        if chosen not in measured:
            with simulated(net, chosen):
                measured[chosen] = objective.measure(net, path=chosen.path).value
        return measured[chosen]

    return loss


def measured_rises(costs: BitCosts, reference: Sequence[str], loss: Callable[[BitPath], float]) -> RiseTable:
    """`measure_rises`, infinite where a loss is not a number."""
    rises = measure_rises(costs, reference, loss)
    return {key: rise if math.isfinite(rise) else math.inf for key, rise in rises.items()}


def select_with_bits(
    exp: Experiment, net: Supernet, scores: PathScores, budget: Budget, bits: Sequence[int]
) -> BitChoice:
    """The best path and bits by validation losses within the limits.

    The rise of the loss is measured for each stage, component and number of bits by itself, on the best path without
    bits, and rises add up. The path that is selected so is measured as a whole.

    Args:
        exp: the run on the task of the search.
        net: its supernet, with the weights of the search.
        scores: of paths: minus their validation losses.
        budget: the limits.
        bits: numbers of bits.

    Raises ManticoreError if no path is within the limits; the message has the nearest.
    """
    loss, costs = bit_loss(exp, net), BitCosts(net, budget.length, bits)
    rises = measured_rises(costs, scores.best(net, budget.without("weight_bytes")), loss)
    chosen = best_with_bits(scores, costs, rises, budget)
    full = loss(BitPath(chosen.path, (FULL,) * len(chosen.path)))
    return BitChoice(chosen, loss(chosen), full, costs.cost(costs.names(chosen), Resource("weight_bytes")))
