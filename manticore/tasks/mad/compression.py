"""MAD's compression: one state, the last token's, from which the whole input is told again.

Token ids: symbols, then the token at which the sequence is to be compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manticore.tasks.mad.puzzle import Puzzle, Whole


@dataclass(frozen=True)
class Compression(Puzzle):
    """T - 1 uniform symbols and the compression token; all T are asked for, the last being a gift."""

    kind: ClassVar[str] = "autoencoder"

    def check(self) -> None:
        """Nothing beyond what every puzzle needs."""

    @property
    def tokens(self) -> int:
        return self.seq_len

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        symbol_NS = rng.integers(self.vocab_size - 1, size=(count, self.seq_len - 1))
        return np.concatenate([symbol_NS, np.full((count, 1), self.vocab_size - 1)], axis=1)

    def asked(self, whole_NS: Whole) -> Whole:
        return whole_NS
