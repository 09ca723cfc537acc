"""MAD's selective copying: repeat the symbols, not the blanks between them.

Token ids: symbols, then the blank, then the token that says copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Puzzle, Whole


@dataclass(frozen=True)
class Copying(Puzzle):
    """m symbols with blanks before them, the copy token, m blanks; at those the symbols are asked for in order.

    Each blank stands before a symbol chosen uniformly, so the last symbol is right before the copy token.

    Attributes:
        num_tokens_to_copy: number of symbols m.
    """

    num_tokens_to_copy: int = 16

    def check(self) -> None:
        self.demand(self.vocab_size >= 3, "vocab_size of at least 3")
        self.demand(self.num_tokens_to_copy >= 1, "num_tokens_to_copy of at least 1")
        self.demand(self.seq_len > 2 * self.num_tokens_to_copy + 1, "seq_len above 2 * num_tokens_to_copy + 1")

    @property
    def tokens(self) -> int:
        return self.seq_len

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        symbols, blanks = self.num_tokens_to_copy, self.seq_len - 2 * self.num_tokens_to_copy - 1
        blank_NM = rng.multinomial(blanks, np.full(symbols, 1 / symbols), size=count)
        place_NM = np.arange(symbols) + np.cumsum(blank_NM, axis=1)
        whole_NS = np.full((count, self.seq_len), self.vocab_size - 2)
        np.put_along_axis(whole_NS, place_NM, rng.integers(self.vocab_size - 2, size=(count, symbols)), axis=1)
        whole_NS[:, -symbols - 1] = self.vocab_size - 1
        return whole_NS

    def asked(self, whole_NS: Whole) -> Whole:
        symbols = self.num_tokens_to_copy
        place_NM = np.argsort(whole_NS >= self.vocab_size - 2, axis=1, kind="stable")[:, :symbols]
        target_NS = np.full_like(whole_NS, IGNORE)
        target_NS[:, -symbols:] = np.take_along_axis(whole_NS, place_NM, axis=1)
        return target_NS
