"""The number of distinct ListOps expressions of each length, and the probability of each length.

Let N_d(L) be the number of expressions of length L whose root is at depth d, D the last level, k the number of
arguments, and * convolution over lengths. An operator and its bracket take 2 tokens, its arguments the other L - 2:

    N_D(L) = 10 [L = 1],    N_d(L) = 10 [L = 1] + 4 sum_k (N_{d+1} * ... * N_{d+1})(L - 2)      (k factors)

The probability of a length follows the same recursion with 0.75 in place of 10 (1 at depth D) and 0.25 / (number of
choices of k) in place of 4. Counts are needed for short expressions only: at least a third of the tokens are digits, so
there are at least 10^(L / 3) expressions of every possible length L.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.lra.listops.grammar import MIN_ARGS, OPERATOR_PROBABILITY, OPERATORS, Grammar

PLENTY = 1e15
"""Limit at which counts are clipped; below it every step is exact in float64."""

LONG = 64
"""From this length on, every possible length has more expressions than are needed: at least 10^(64 / 3)."""

RAREST = 1e-6
"""Smallest probability of a tree within the bounds that is accepted; far above the rounding error of the FFTs."""

LengthTable = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Counts and probabilities of a grammar's expressions by length.

    Attributes:
        distinct: (at most LONG,) number of expressions by length, clipped at `PLENTY`; without the length bounds.
        probability: (max_length,) probability that a sampled tree has this length; without the length bounds.
        grammar: the grammar.
    """

    distinct: LengthTable
    probability: LengthTable
    grammar: Grammar

    @property
    def available(self) -> float:
        """Number of distinct expressions within the bounds; at `PLENTY` or more, a lower bound of it."""
        shortest = self.grammar.min_length + 1
        beyond = PLENTY if self.probability[max(shortest, LONG) :].sum() > RAREST else 0.0
        return float(self.distinct[shortest:].sum()) + beyond

    @property
    def acceptance(self) -> float:
        """Probability that a sampled tree is within the bounds."""
        return float(self.probability[self.grammar.min_length + 1 :].sum())

    def tokens_to_draw(self, count: int) -> float:
        """Expected number of tokens that are sampled until `count` trees are within the bounds.

        `count` times the expected tokens of a tree, which stops at `max_length`, divided by the acceptance.
        """
        limit = self.grammar.max_length
        per_tree = float(self.probability @ np.arange(limit)) + limit * (1.0 - float(self.probability.sum()))
        return count * per_tree / self.acceptance

    def check(self, count: int) -> None:
        """Raises ManticoreError if fewer than `count` expressions are within the bounds, or they are too rare."""
        grammar = self.grammar
        bounds = (
            f"longer than {grammar.min_length} and shorter than {grammar.max_length} tokens "
            f"at max_depth={grammar.max_depth}, max_args={grammar.max_args}"
        )
        if self.available < count:
            raise ManticoreError(
                f"{count} distinct ListOps expressions are requested, but only {self.available:.0f} can be drawn "
                f"that are {bounds}; ask for fewer or widen the bounds"
            )
        if self.acceptance < RAREST:
            raise ManticoreError(
                f"ListOps expressions {bounds} are too rare to be drawn: {self.acceptance:.1e} of all trees; "
                f"widen the bounds"
            )


def _convolve(a: LengthTable, b: LengthTable) -> LengthTable:
    """The first len(a) values of the convolution, exact below `PLENTY`, where they are clipped."""
    return np.minimum(np.convolve(a, b)[: len(a)], PLENTY)


def _fft_convolve(a: LengthTable, b: LengthTable) -> LengthTable:
    """The first len(a) values of the convolution in O(L log L), to about 1e-16 of the total."""
    size = 2 * len(a)
    product = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size)[: len(a)]
    return np.maximum(product, 0.0)


@dataclass(frozen=True)
class _Weights:
    """Factors of the recursion: a digit of the last level, a digit above it, an operator with k arguments."""

    deepest: float
    digit: float
    operator: float


def _tabulate(
    grammar: Grammar, lengths: int, weights: _Weights, convolve: Callable[[LengthTable, LengthTable], LengthTable]
) -> LengthTable:
    """The table N_1 of the module's recursion, (lengths,): starts at depth D and goes up one level in each pass."""
    table = np.zeros(max(lengths, 3))
    table[1] = weights.deepest
    # An argument takes at least one token, so that more arguments than `len(table) - 2` add nothing.
    most = min(grammar.max_args, len(table) - 2)
    for _ in range(grammar.max_depth - 1):
        above = np.zeros_like(table)
        above[1] = weights.digit
        power = table  # k-fold convolution of the table with itself
        for _ in range(MIN_ARGS, most + 1):
            power = convolve(power, table)
            above[2:] += weights.operator * power[:-2]
        table = np.minimum(above, PLENTY)
    return table[:lengths]


def population(grammar: Grammar) -> Population:
    """Counts and probabilities of all lengths below `grammar.max_length`."""
    chance = OPERATOR_PROBABILITY / (grammar.max_args - MIN_ARGS + 1)
    counts = _Weights(deepest=10.0, digit=10.0, operator=float(len(OPERATORS)))
    chances = _Weights(deepest=1.0, digit=1.0 - OPERATOR_PROBABILITY, operator=chance)
    return Population(
        distinct=_tabulate(grammar, min(grammar.max_length, LONG), counts, _convolve),
        probability=_tabulate(grammar, grammar.max_length, chances, _fft_convolve),
        grammar=grammar,
    )
