"""MAD's selective copying: the symbols of a sequence in order, without the blanks between them.

Token ids: symbols, then the blank, then the copy token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import Self

import numpy as np

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Ids, Puzzle


@dataclass(frozen=True)
class Copying(Puzzle):
    """m symbols with blanks before them, the copy token, and m blanks, where the symbols are the targets in order.

    Each of the T - 2m - 1 blanks among the symbols stands before a uniformly chosen symbol, so that the last symbol is
    always right before the copy token.

    Attributes:
        num_tokens_to_copy: number of symbols m.
    """

    num_tokens_to_copy: int = 16

    def check(self) -> None:
        self.require(self.vocab_size >= 3, "vocab_size of at least 3")
        self.require(self.num_tokens_to_copy >= 1, "num_tokens_to_copy of at least 1")
        self.require(self.seq_len > 2 * self.num_tokens_to_copy + 1, "seq_len above 2 * num_tokens_to_copy + 1")

    @property
    def tokens(self) -> int:
        return self.seq_len

    def shorter(self) -> Self:
        symbols, length = (self.num_tokens_to_copy + 1) // 2, self.seq_len // 2
        while _sequences(self.vocab_size - 2, symbols, length) < 1.25 * self.train and length < self.seq_len:
            length += 1
        return replace(self, num_tokens_to_copy=symbols, seq_len=length)

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        symbols, blanks = self.num_tokens_to_copy, self.seq_len - 2 * self.num_tokens_to_copy - 1
        # Blanks before each symbol; symbol i is then at position i + (sum of the blanks before it).
        blank_NM = rng.multinomial(blanks, np.full(symbols, 1 / symbols), size=count)
        position_NM = np.arange(symbols) + np.cumsum(blank_NM, axis=1)
        full_NS = np.full((count, self.seq_len), self.vocab_size - 2)
        np.put_along_axis(full_NS, position_NM, rng.integers(self.vocab_size - 2, size=(count, symbols)), axis=1)
        full_NS[:, -symbols - 1] = self.vocab_size - 1
        return full_NS

    def test_targets(self, full_NS: Ids) -> Ids:
        symbols = self.num_tokens_to_copy
        # A stable sort of "is no symbol" puts the positions of the symbols first, in order.
        position_NM = np.argsort(full_NS >= self.vocab_size - 2, axis=1, kind="stable")[:, :symbols]
        target_NS = np.full_like(full_NS, IGNORE)
        target_NS[:, -symbols:] = np.take_along_axis(full_NS, position_NM, axis=1)
        return target_NS


def _sequences(alphabet: int, symbols: int, length: int) -> int:
    """Number of distinct sequences of `length` tokens with `symbols` symbols of an alphabet."""
    blanks = length - 2 * symbols - 1
    return alphabet**symbols * comb(blanks + symbols - 1, symbols - 1) if blanks >= 0 else 0
