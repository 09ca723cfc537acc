"""MAD's compression: the input is decoded from a single state, that of its last token.

Token ids: symbols, then the compression token, which ends the input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from manticore.tasks.mad.puzzle import Ids, Puzzle


@dataclass(frozen=True)
class Compression(Puzzle):
    """T - 1 uniform symbols and the compression token; all T are targets, of which the last is always the same."""

    kind: ClassVar[str] = "autoencoder"

    def check(self) -> None:
        """All settings of a puzzle are valid."""

    @property
    def tokens(self) -> int:
        return self.seq_len

    def shorter(self) -> Self:
        return replace(self, seq_len=self.seq_len // 2 + 1)

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        symbol_NS = rng.integers(self.vocab_size - 1, size=(count, self.seq_len - 1))
        return np.concatenate([symbol_NS, np.full((count, 1), self.vocab_size - 1)], axis=1)

    def test_targets(self, full_NS: Ids) -> Ids:
        return full_NS
