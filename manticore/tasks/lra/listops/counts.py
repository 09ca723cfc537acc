"""How many ListOps expressions there are of each length, and how likely each length is. Draws none of them.

With N_d(L) the number of expressions of length L whose root stands at depth d, k the number of arguments, D the
deepest level and * convolution over lengths:

    N_D(L) = 10 [L = 1],    N_d(L) = 10 [L = 1] + 4 sum_k (N_{d+1} * ... * N_{d+1})(L - 2)      (k factors)

The probabilities follow the same recursion with weights 0.75 and 0.25 / (number of choices of k). Counts are needed for
short expressions only: at least a third of the tokens are digits, so a length that can be reached at all has at least
10^(L / 3) expressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.lra.listops.grammar import MIN_ARGS, OPERATOR_PROBABILITY, OPERATORS, Grammar

# Counts beyond this are "plenty"; below it every step is exact in float64.
PLENTY = 1e15
# From this length on, one length that can be reached is plenty: 10^(64 / 3) expressions.
LONG = 64
# The smallest share of trees within the bounds that is worth drawing; far above the error of the transforms.
RAREST = 1e-6

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """What a grammar can draw.

    Attributes:
        distinct: (at most LONG,) number of expressions by length, cut off at `PLENTY`; bounds not applied.
        probability: (max_length,) probability that one tree has this length; bounds not applied.
        grammar: the grammar it belongs to.
    """

    distinct: Table
    probability: Table
    grammar: Grammar

    @property
    def available(self) -> float:
        """Number of distinct expressions within the bounds; `PLENTY` or more means no fewer than that."""
        shortest = self.grammar.min_length + 1
        beyond = PLENTY if self.probability[max(shortest, LONG) :].sum() > RAREST else 0.0
        return float(self.distinct[shortest:].sum()) + beyond

    @property
    def acceptance(self) -> float:
        """Probability that one tree falls within the bounds."""
        return float(self.probability[self.grammar.min_length + 1 :].sum())

    def tokens_to_draw(self, count: int) -> float:
        """Expected number of tokens grown until `count` trees fell within the bounds."""
        limit = self.grammar.max_length
        grown = float(self.probability @ np.arange(limit)) + limit * (1.0 - float(self.probability.sum()))
        return count * grown / self.acceptance

    def check(self, count: int) -> None:
        """Raises ManticoreError, one line, if `count` distinct expressions cannot be found by drawing."""
        grammar = self.grammar
        bounds = (
            f"longer than {grammar.min_length} and shorter than {grammar.max_length} tokens "
            f"at max_depth={grammar.max_depth}, max_args={grammar.max_args}"
        )
        if self.available < count:
            raise ManticoreError(
                f"{count} distinct ListOps expressions are asked for, but only {self.available:.0f} can be drawn "
                f"that are {bounds}; ask for fewer or widen the bounds"
            )
        if self.acceptance < RAREST:
            raise ManticoreError(
                f"ListOps expressions {bounds} are too rare to be drawn: {self.acceptance:.1e} of all trees; "
                f"widen the bounds"
            )


def _direct(one: Table, other: Table) -> Table:
    """Convolution cut off at len(one), exact while values stay below `PLENTY`."""
    return np.minimum(np.convolve(one, other)[: len(one)], PLENTY)


def _transformed(one: Table, other: Table) -> Table:
    """Convolution cut off at len(one) in O(L log L), to about 1e-16 of the total."""
    size = 2 * len(one)
    product = np.fft.irfft(np.fft.rfft(one, size) * np.fft.rfft(other, size), size)[: len(one)]
    return np.maximum(product, 0.0)


@dataclass(frozen=True)
class _Weights:
    """What a digit of the last level, a digit above it, and an operator with its number of arguments are worth."""

    deepest: float
    digit: float
    operator: float


def _tabulate(grammar: Grammar, lengths: int, weights: _Weights, convolve: Callable[[Table, Table], Table]) -> Table:
    table = np.zeros(max(lengths, 3))
    table[1] = weights.deepest
    # Every argument takes a token: more arguments than the longest length has room for add nothing.
    most = min(grammar.max_args, len(table) - 2)
    for _ in range(grammar.max_depth - 1):
        grown = np.zeros_like(table)
        grown[1] = weights.digit
        power = table
        for _ in range(MIN_ARGS, most + 1):
            power = convolve(power, table)
            grown[2:] += weights.operator * power[:-2]
        table = np.minimum(grown, PLENTY)
    return table[:lengths]


def population(grammar: Grammar) -> Population:
    """Counts and probabilities of every length below `grammar.max_length`."""
    chance = OPERATOR_PROBABILITY / (grammar.max_args - MIN_ARGS + 1)
    counts = _Weights(deepest=10.0, digit=10.0, operator=float(len(OPERATORS)))
    chances = _Weights(deepest=1.0, digit=1.0 - OPERATOR_PROBABILITY, operator=chance)
    return Population(
        distinct=_tabulate(grammar, min(grammar.max_length, LONG), counts, _direct),
        probability=_tabulate(grammar, grammar.max_length, chances, _transformed),
        grammar=grammar,
    )
